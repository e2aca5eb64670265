"""Caffe's own files rewritten: nets without in-place layers, merged protos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

from amctc.diagnostics import Collector, Diagnostic, error
from amctc.dialects.caffe.merged_schema import merge_caffe_proto
from amctc.frontends import CAFFE, Reading, format_of, load_model
from amctc.output import write_files
from amctc.targets.caffe.uninplace import uninplaced


def uninplace_model(model: str | Path, output: str | Path, **reading: Unpack[Reading]) -> tuple[Diagnostic, ...]:
    """Write a Caffe net in which every layer has a top of its own; only layers of phase TEST are kept.

    Gives the warnings. Raises `DiagnosticError` where the net cannot be read or written.
    """
    collector = Collector()
    if format_of(model) != CAFFE:
        help = "in other formats every layer has outputs of its own anyway"
        raise error("AM331", "only Caffe's nets have layers that work in place", file=str(model), help=help)
    graph = load_model(model, collector=collector, keep_training=True, **reading)
    write_files({Path(output): uninplaced(graph, collector).encode()})
    return collector.warnings


def merge_proto(
    custom_protos: Sequence[str | Path], *, caffe_proto: str | Path | None = None, output: str | Path
) -> tuple[Diagnostic, ...]:
    """Write a caffe.proto with AMCT's layers and the users' in it.

    `caffe_proto` is the one to begin with; the default is Caffe's with ATC's layers. Gives the
    warnings. Raises `DiagnosticError` (AM1xx) with every clash, and AM700 for an output that cannot be written.
    """
    collector = Collector()
    write_files({Path(output): merge_caffe_proto(custom_protos, caffe_proto, collector).encode()})
    return collector.warnings
