"""An AIPP configuration (prototxt of `domi.InsertNewOps`) to plain values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from google.protobuf.descriptor import Descriptor

from amctc.aipp.checks import INPUT_FORMATS, check_op
from amctc.aipp.color import default_csc
from amctc.aipp.config import AippConfig, Crop, Csc, InputFormat, Normalization, Padding, Triple
from amctc.aipp.effectless import effectless
from amctc.aipp.fields import CROP, FACTOR, INPUT_BIAS, MATRIX, MEAN, MINIMUM, OUTPUT_BIAS, PADDING, SOURCE, Op
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Label
from amctc.source import SourceFile
from amctc.text.checked import CheckedMessage
from amctc.text.files import read_text
from amctc.text.proto_schema import load_schema
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

MAX_BYTES: Final = 1 << 20
"""Of a file; an `aipp_op` with every field in it takes less than 3000."""


def read_aipp(path: str | Path, collector: Collector | None = None) -> tuple[AippConfig, ...]:
    """The static AIPP operators of a file, one for each `aipp_op`, with GE's defaults filled in.

    Warnings (AM399, what has no effect) go to the collector. Raises `DiagnosticError` with everything that is wrong:
    AM100 to AM105 for the file and its syntax, AM110 to AM113 where a field does not fit the schema, AM390 to
    AM397 where a value is not allowed or cannot be computed here.
    """
    return parse_aipp(read_text(path, MAX_BYTES), collector)


def parse_aipp(source: SourceFile, collector: Collector | None = None) -> tuple[AippConfig, ...]:
    """What `read_aipp` does, of a text."""
    findings = Collector()
    descriptor = load_schema("aipp.proto").descriptor("domi.InsertNewOps")
    root = check_message(parse_prototext(source), descriptor, findings, unknown_fields="error", hint=_hint)
    misfits = findings.has_errors
    ops = _ops(root)
    if not ops and not misfits:
        findings.add(
            Diagnostic("AM391", "there is no `aipp_op` in this file", file=source.name, help="write `aipp_op { ... }`")
        )
    for entry in root.occurrences("multi_shape_op"):
        message = "`multi_shape_op` makes a network of several shapes, which is not supported"
        findings.add(Diagnostic("AM394", message, span=entry.name_span, help="give the input one shape"))
    for op in ops:
        check_op(op, findings, complete=not misfits)
    if not misfits:
        findings.extend(_positions(ops))
    if findings.has_errors:
        raise DiagnosticError(*_in_order(findings))
    for op in ops:
        findings.extend(effectless(op))
    if collector is not None:
        collector.extend(_in_order(findings))
    return tuple(_config(op) for op in ops)


def _in_order(findings: Collector) -> list[Diagnostic]:
    return sorted(findings.diagnostics, key=lambda found: found.span.start if found.span is not None else -1)


def _ops(root: CheckedMessage) -> list[Op]:
    found = root.occurrences("aipp_op")
    return [Op(entry.value, entry.name_span) for entry in found if isinstance(entry.value, CheckedMessage)]


@cache
def _op_fields() -> frozenset[str]:
    return frozenset(load_schema("aipp.proto").descriptor("domi.AippOpParams").fields_by_name)


def _hint(descriptor: Descriptor, name: str) -> str | None:
    if descriptor.name == "InsertNewOps" and name in _op_fields():
        return f"write it inside an operator: `aipp_op {{ {name}: ... }}`"
    return None


def _positions(ops: Sequence[Op]) -> list[Diagnostic]:
    """AM397 for operators that do not agree on how inputs are named, or that stand at the same input."""
    found: list[Diagnostic] = []
    taken: dict[str | int, Op] = {}
    by_name = bool(ops) and bool(ops[0].word("related_input_name"))
    for op in ops:
        name = op.word("related_input_name")
        if bool(name) != by_name:
            field = "related_input_name" if by_name else "related_input_rank"
            found.append(
                Diagnostic(
                    "AM397",
                    "some operators name their input, others count it",
                    span=op.place("related_input_name"),
                    related=(Label(ops[0].span, f"this one has {'a name' if by_name else 'no name'}"),),
                    help=f"give all of them a `{field}`",
                )
            )
            continue
        key = name or op.integer("related_input_rank")
        first = taken.setdefault(key, op)
        if first is not op:
            field = "related_input_name" if name else "related_input_rank"
            what = f"`{name}`" if name else f"number {key}"
            found.append(
                Diagnostic(
                    "AM397",
                    f"two operators stand at the input {what}",
                    span=op.place(field),
                    related=(Label(first.place(field), "the first one"),),
                    help=f"give each another `{field}`",
                )
            )
    return found


def _config(op: Op) -> AippConfig:
    name = op.word("input_format")
    assert name in INPUT_FORMATS
    input_format = cast(InputFormat, name)
    return AippConfig(
        input_format,
        input_rank=op.integer("related_input_rank"),
        input_name=op.word("related_input_name") or None,
        source_width=op.integer(SOURCE[0]),
        source_height=op.integer(SOURCE[1]),
        rbuv_swap=op.flag("rbuv_swap_switch"),
        ax_swap=op.flag("ax_swap_switch"),
        crop=Crop(*(op.integer(field) for field in CROP)) if op.flag("crop") else None,
        csc=_csc(op, input_format) if op.flag("csc_switch") else None,
        normalization=_normalization(op),
        padding=_padding(op) if op.flag("padding") else None,
        places=MappingProxyType(op.places()),
    )


def _csc(op: Op, input_format: InputFormat) -> Csc:
    default = default_csc(input_format)
    first, second, third = (_three(op, names, row) for names, row in zip(MATRIX, default.matrix, strict=True))
    return Csc(
        (first, second, third), _three(op, INPUT_BIAS, default.input_bias), _three(op, OUTPUT_BIAS, default.output_bias)
    )


def _three(op: Op, names: Sequence[str], defaults: Triple) -> Triple:
    first, second, third = (op.integer(name, default) for name, default in zip(names, defaults, strict=True))
    return first, second, third


def _normalization(op: Op) -> Normalization:
    mean0, mean1, mean2, mean3 = (op.integer(name) for name in MEAN)
    low0, low1, low2, low3 = (op.number(name) for name in MINIMUM)
    factor0, factor1, factor2, factor3 = (op.number(name, 1.0) for name in FACTOR)
    return Normalization((mean0, mean1, mean2, mean3), (low0, low1, low2, low3), (factor0, factor1, factor2, factor3))


def _padding(op: Op) -> Padding:
    left, right, top, bottom = (op.integer(name) for name in PADDING)
    return Padding(left, right, top, bottom, op.number("padding_value"))
