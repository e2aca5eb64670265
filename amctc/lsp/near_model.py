"""The model that a policy is for, as far as its folder and its comments say: its layers' names and types."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

from amctc.diagnostics import Diagnostic, DiagnosticError, Level
from amctc.ir import Graph
from amctc.lsp.comments import said
from amctc.source import SourceFile
from amctc.text.files import read_text
from amctc.text.prototext import parse_prototext
from amctc.text.prototext_tree import TextMessage, TextScalar

_NONE = "none"
_MOST_FILES = 10_000
"""Of a folder that is looked through for a model."""


@dataclass(frozen=True)
class NearModel:
    """The layers of a net by name, with their types; `graph` is None where the net cannot be read whole."""

    path: Path
    layers: Mapping[str, str]
    graph: Graph | None = field(default=None, compare=False, repr=False)


def near_model(source: SourceFile, path: Path | None) -> tuple[NearModel | None, Diagnostic | None]:
    """The model of a policy at a path, and a warning where a comment names one that cannot be read.

    It is the one in `# amctc: model=FILE`, from the policy's folder on (`none` means that there is
    none), or else the only `.prototxt` in that folder.
    """
    place = said(source, "model")
    if place is None:
        only = _only_net(path.parent) if path is not None else None
        return (_read(only) if only is not None else None), None
    if place.text == _NONE or path is None:
        return None, None
    model = _read(path.parent / place.text)
    if model is not None:
        return model, None
    message = f"the model `{place.text[:60]}` cannot be read"
    help = "give the name of a Caffe prototxt, from the folder of the policy on; `none` means that there is none"
    return None, Diagnostic("AM830", message, Level.WARNING, place, help=help)


def _only_net(folder: Path) -> Path | None:
    try:
        with os.scandir(folder) as entries:
            nets = [entry.name for entry in islice(entries, _MOST_FILES) if entry.name.endswith(".prototxt")]
    except OSError:
        return None
    return folder / nets[0] if len(nets) == 1 else None


def _read(path: Path) -> NearModel | None:
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(about.st_mode):
        return None
    return _load(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)
def _load(path: Path, changed: int, size: int) -> NearModel | None:
    """The model at a path; when it was changed and its size say whether what was read before still holds."""
    from amctc.frontends import load_model

    try:
        graph = load_model(path)
        return NearModel(path, {node.name: node.type for node in graph.nodes}, graph)
    except DiagnosticError:
        pass
    try:
        layers = _layers(parse_prototext(read_text(path)))
    except DiagnosticError:
        return None
    return NearModel(path, layers) if layers else None


def _layers(net: TextMessage) -> Mapping[str, str]:
    """Names and types as they are written, of a net that as a whole is not right."""
    found: dict[str, str] = {}
    for entry in net.fields:
        if entry.name in ("layer", "layers") and isinstance(entry.value, TextMessage):
            inner = entry.value.fields
            texts = {field.name: _text(field.value) for field in inner if isinstance(field.value, TextScalar)}
            if "name" in texts:
                found[texts["name"]] = texts.get("type", "")
    return found


def _text(scalar: TextScalar) -> str:
    return scalar.value.decode(errors="replace") if isinstance(scalar.value, bytes) else str(scalar.value)
