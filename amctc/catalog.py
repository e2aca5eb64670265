"""What is registered, described: for `amctc passes`, `targets` and `ops` and for the reference page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from amctc.dialects.caffe.parameters import Parameter, parameters_of
from amctc.dialects.custom import CAFFE, OPS, registered
from amctc.dialects.ge import GE
from amctc.dialects.ge.parameters import attributes_of as ge_attributes_of
from amctc.dialects.ge.parameters import ports_of
from amctc.dialects.onnx.generic import ONNX, is_known_type
from amctc.dialects.onnx.parameters import attributes_of, operands_of
from amctc.dialects.op import Arity, OpDef
from amctc.dialects.table import op_table
from amctc.pipeline.options import Option, options_of
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.target import Target
from amctc.registry import BUILT_IN, Entry, Registry, current_registry
from amctc.runtime.hostops import host_ops_of
from amctc.runtime.lowering.rules import RULES


@dataclass(frozen=True)
class PassRow:
    """One pass, complete, in the words of `amctc.pipeline.pass_.Pass`. `pattern` is None for one that has none."""

    name: str
    summary: str
    description: str
    owner: str
    options: tuple[Option, ...]
    pattern: str | None
    after: tuple[str, ...]
    before: tuple[str, ...]
    needs_before: tuple[str, ...]
    needs_after: tuple[str, ...]
    preserves_numbers: bool
    needs_policy: bool
    needs_calibration: bool
    needs_record: bool

    @property
    def option_text(self) -> str:
        return _option_text(self.options)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class PipelineRow:
    """A named pipeline and its text form."""

    name: str
    text: str
    owner: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class TargetRow:
    """One target, complete, in the words of `amctc.pipeline.target.Target`."""

    name: str
    summary: str
    description: str
    owner: str
    options: tuple[Option, ...]

    @property
    def option_text(self) -> str:
        return _option_text(self.options)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class OpRow:
    """One op: its parameters, whether its data is quantized by default, optionally or never, its weights, what runs it.

    `field` is the message of the source format that holds the parameters; ONNX's attributes are in none.
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
    owner: str = BUILT_IN

    @property
    def parameter_text(self) -> str:
        return ", ".join(map(str, self.parameters))

    @property
    def cells(self) -> tuple[str, str, str, str, str, str]:
        return self.name, self.data, self.weights, self.parameter_text, self.runs, self.summary

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def describe_passes(registry: Registry | None = None) -> tuple[PassRow, ...]:
    """Every pass of a registry (default: of all that is registered now)."""
    return tuple(_pass_row(entry) for entry in (registry or current_registry()).passes.values())


def describe_pipelines(registry: Registry | None = None) -> tuple[PipelineRow, ...]:
    """Every named pipeline of a registry (default: of all that is registered now)."""
    found = registry or current_registry()
    return tuple(PipelineRow(name, text, found.owner_of_pipeline(name)) for name, text in found.pipelines.items())


def describe_targets(registry: Registry | None = None) -> tuple[TargetRow, ...]:
    """Every target of a registry (default: of all that is registered now)."""
    rows = (registry or current_registry()).targets.values()
    return tuple(_target_row(entry) for entry in rows)


def describe_ops(dialect: str | None = None) -> tuple[OpRow, ...]:
    """Every op of the op table, or of one dialect."""
    return tuple(_op_row(row) for row in op_table().values() if dialect in (None, row.dialect))


def dialects() -> tuple[str, ...]:
    """The names of the dialects."""
    return tuple(dict.fromkeys(row.dialect for row in op_table().values()))


def _pass_row(entry: Entry) -> PassRow:
    kind: type[Pass] = entry.load()
    pattern: object = getattr(kind, "pattern", None)
    return PassRow(
        name=kind.name,
        summary=kind.summary(),
        description=kind.description(),
        owner=entry.owner,
        options=options_of(kind),
        pattern=pattern if isinstance(pattern, str) else None,
        after=kind.after,
        before=kind.before,
        needs_before=kind.needs_before,
        needs_after=kind.needs_after,
        preserves_numbers=kind.preserves_numbers,
        needs_policy=kind.needs_policy,
        needs_calibration=kind.needs_calibration,
        needs_record=kind.needs_record,
    )


def _target_row(entry: Entry) -> TargetRow:
    kind: type[Target] = entry.load()
    return TargetRow(kind.name, kind.summary(), kind.description(), entry.owner, options_of(kind))


def _option_text(options: Sequence[Option]) -> str:
    return ", ".join(f"{option.name}={option.default}" for option in options)


def _op_row(row: OpDef) -> OpRow:
    how, foreign = row.quantizable, OPS.rows.get(row.name)
    data, weights = "no", "no"
    if how is not None:
        data = "by default" if how.on_by_default else "if asked"
        weights = ("per channel" if how.channel_wise else "per tensor") if how.weights else "no"
    inputs, outputs = _arities(row)
    return OpRow(
        name=row.name,
        summary=row.summary,
        data=data,
        weights=weights,
        inputs=str(inputs),
        outputs=str(outputs),
        notes=row.notes,
        runs=_runs(row),
        field=row.parameter,
        parameters=() if foreign is not None else _parameters(row),
        owner=BUILT_IN if foreign is None else foreign.owner.name,
    )


def _parameters(row: OpDef) -> tuple[Parameter, ...]:
    if row.dialect == GE:
        return ge_attributes_of(row.type)
    if row.dialect == ONNX:
        return attributes_of(row.type) if row.inputs.most != 0 else ()  # an ONNX Constant is none of ours
    return parameters_of(row.parameter) if row.parameter is not None and row.dialect == CAFFE else ()


def _arities(row: OpDef) -> tuple[Arity, Arity]:
    """Where a row of an ONNX op leaves it to ONNX how many inputs it has, what that says; for GE's the prototypes."""
    if row.dialect == GE:
        return ports_of(row.type) or (row.inputs, row.outputs)
    found = operands_of(row.type) if row.dialect == ONNX and row.inputs.most is None else None
    return (row.inputs, row.outputs) if found is None else found


def _runs(row: OpDef) -> str:
    if row.source:
        return "is fed"
    if row.dialect == ONNX and is_known_type(row.type):
        return "ONNX Runtime"
    own = registered(row.type if row.dialect == CAFFE else row.name)
    if own is not None or any(op.name == row.name for op in host_ops_of(row.dialect)):
        return "a host op"
    if row.likeness is not None:
        return f"as `{row.likeness.op}`"
    computes = row.name in RULES and row.outputs.most != 0
    return "ONNX Runtime" if computes else "nothing"
