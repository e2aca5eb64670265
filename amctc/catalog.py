"""What is registered, described: for `amctc passes`, `targets` and `ops` and for the reference page."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from amctc.dialects.caffe.parameters import Parameter, parameters_of
from amctc.dialects.op import OpDef
from amctc.dialects.table import op_table
from amctc.pipeline.options import Option, options_of
from amctc.registry import builtin_registry
from amctc.runtime.hostops import HOST_OPS
from amctc.runtime.lowering.rules import RULES


@dataclass(frozen=True)
class PassRow:
    name: str
    summary: str
    options: tuple[Option, ...]
    after: tuple[str, ...]
    before: tuple[str, ...]

    @property
    def option_text(self) -> str:
        return ", ".join(f"{option.name}={option.default}" for option in self.options)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class OpRow:
    """One op: its parameters, whether its data is quantized by default, optionally or never, its weights, what runs it.

    `field` is the message of the source format that holds the parameters.
    """

    name: str
    summary: str
    data: str
    weights: str
    inputs: str
    outputs: str
    notes: str
    runs: str
    field: str | None
    parameters: tuple[Parameter, ...]

    @property
    def parameter_text(self) -> str:
        return ", ".join(map(str, self.parameters))

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        return self.name, self.data, self.weights, self.parameter_text, self.runs, self.summary

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def describe_passes() -> tuple[PassRow, ...]:
    """Every registered pass."""
    kinds = (entry.load() for entry in builtin_registry().passes.values())
    return tuple(PassRow(kind.name, kind.summary(), options_of(kind), kind.after, kind.before) for kind in kinds)


def describe_targets() -> tuple[tuple[str, str], ...]:
    """Name and summary of every registered target."""
    kinds = (entry.load() for entry in builtin_registry().targets.values())
    return tuple((kind.name, " ".join((kind.__doc__ or "").split("\n\n", maxsplit=1)[0].split())) for kind in kinds)


def describe_ops(dialect: str | None = None) -> tuple[OpRow, ...]:
    """Every op of the op table, or of one dialect."""
    return tuple(_op_row(row) for row in op_table().values() if dialect in (None, row.dialect))


def dialects() -> tuple[str, ...]:
    """The names of the dialects."""
    return tuple(dict.fromkeys(row.dialect for row in op_table().values()))


def _op_row(row: OpDef) -> OpRow:
    how = row.quantizable
    data, weights = "no", "no"
    if how is not None:
        data = "by default" if how.on_by_default else "if asked"
        weights = ("per channel" if how.channel_wise else "per tensor") if how.weights else "no"
    return OpRow(
        name=row.name,
        summary=row.summary,
        data=data,
        weights=weights,
        inputs=str(row.inputs),
        outputs=str(row.outputs),
        notes=row.notes,
        runs=_runs(row),
        field=row.parameter,
        parameters=parameters_of(row.parameter) if row.parameter is not None and row.dialect == "caffe" else (),
    )


def _runs(row: OpDef) -> str:
    if row.source:
        return "is fed"
    if any(op.name == row.name for op in HOST_OPS):
        return "a host op"
    computes = row.name in RULES and row.outputs.most != 0
    return "ONNX Runtime" if computes else "nothing"
