"""A solver.prototxt as data, with Caffe's checks: which nets, how their weights are changed, what is written when."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar, get_args

from amctc.diagnostics import Collector, Diagnostic, Label, Level, did_you_mean
from amctc.dialects.caffe.schema import caffe_schema
from amctc.source import Span
from amctc.text.checked import CheckedMessage
from amctc.text.files import read_text
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message
from amctc.training.learning_rate import LR_POLICIES, NEEDS_GAMMA, NEEDS_STEPSIZE, LearningRate, LrPolicy
from amctc.training.places import located
from amctc.training.solver_nets import NetPlan, test_plans, train_plan

SolverType: TypeAlias = Literal["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"]
Regularization: TypeAlias = Literal["L1", "L2"]

Word = TypeVar("Word", bound=str)

SOLVER_TYPES: Final[tuple[SolverType, ...]] = get_args(SolverType)

_REGULARIZATIONS: Final[tuple[Regularization, ...]] = get_args(Regularization)

MAX_SOLVER_BYTES: Final = 1 << 24
"""Of a solver file; one that holds whole nets has some ten thousand."""

_MESSAGE = "caffe.SolverParameter"
_OLD_TYPES: dict[str, SolverType] = {name.upper(): name for name in SOLVER_TYPES}
_WITHOUT_MOMENTUM: Final[frozenset[SolverType]] = frozenset({"AdaGrad", "RMSProp"})
_NOT_NEGATIVE = ("max_iter", "test_interval", "display", "snapshot", "device_id")
_POSITIVE = ("iter_size", "average_loss")


@dataclass(frozen=True)
class SolverFile:
    """What a solver file says, with Caffe's defaults. Numbers that Caffe holds as float32 are rounded where used.

    `random_seed` is None where the file says none; `on_gpu` is what `solver_mode` asks for. `snapshot_prefix` is
    never empty: without one it is the solver file's path without its ending, as in Caffe.
    """

    path: Path
    name: str
    train: NetPlan
    tests: tuple[NetPlan, ...]
    type: SolverType
    rate: LearningRate
    momentum: float
    momentum2: float
    rms_decay: float
    delta: float
    weight_decay: float
    regularization: Regularization
    clip_gradients: float
    iter_size: int
    max_iter: int
    test_interval: int
    test_initialization: bool
    test_compute_loss: bool
    average_loss: int
    display: int
    snapshot: int
    snapshot_prefix: str
    snapshot_after_train: bool
    random_seed: int | None
    on_gpu: bool
    device_id: int
    weights: tuple[Path, ...]
    """Files to begin with, in order."""


def read_solver_file(path: str | Path, collector: Collector, type: SolverType | None = None) -> SolverFile:
    """Read a solver.prototxt, for a solver of `type`, or of the one that it says. Warnings go to `collector`.

    Paths in it are relative to the working directory, as in Caffe; where nothing is there, to the folder of the file.
    Raises `DiagnosticError` with every mistake: AM100 to AM115 for the text and its fields, AM910 and AM911 for the
    choice of nets, AM912 an unknown word, AM913 a number that cannot be, AM914 settings that contradict each other,
    AM915 what is not done here.
    """
    source = read_text(path, MAX_SOLVER_BYTES)
    descriptor = caffe_schema().descriptor(_MESSAGE)
    said = check_message(parse_prototext(source), descriptor, collector, unknown_fields="error")
    collector.raise_errors()
    _check_numbers(said, collector)
    kind = type or _type(said, collector)
    policy = _policy(said, collector)
    regularization = _regularization(said, collector)
    _check_type(said, kind, collector)
    _check_format(said, collector)
    folder = Path(path).parent
    train = train_plan(said, folder, collector)
    tests = test_plans(said, folder, collector)
    collector.raise_errors()
    _warn_of_effectless(said, collector)
    assert kind is not None and policy is not None and regularization is not None and train is not None
    seed = _int(said, "random_seed")
    return SolverFile(
        path=Path(path),
        name=source.name,
        train=train,
        tests=tests,
        type=kind,
        rate=_rate(said, policy),
        momentum=_float(said, "momentum"),
        momentum2=_float(said, "momentum2"),
        rms_decay=_float(said, "rms_decay"),
        delta=_float(said, "delta"),
        weight_decay=_float(said, "weight_decay"),
        regularization=regularization,
        clip_gradients=_float(said, "clip_gradients"),
        iter_size=_int(said, "iter_size"),
        max_iter=_int(said, "max_iter"),
        test_interval=_int(said, "test_interval"),
        test_initialization=bool(said.value("test_initialization")),
        test_compute_loss=bool(said.value("test_compute_loss")),
        average_loss=_int(said, "average_loss"),
        display=_int(said, "display"),
        snapshot=_int(said, "snapshot"),
        snapshot_prefix=_prefix(said, Path(path)),
        snapshot_after_train=bool(said.value("snapshot_after_train")),
        random_seed=seed if seed >= 0 else None,
        on_gpu=said.value("solver_mode") == "GPU",
        device_id=_int(said, "device_id"),
        weights=tuple(located(name, folder) for name in _weights(said)),
    )


def _rate(said: CheckedMessage, policy: LrPolicy) -> LearningRate:
    return LearningRate(
        policy,
        _float(said, "base_lr"),
        _float(said, "gamma"),
        _float(said, "power"),
        _int(said, "stepsize"),
        tuple(int(value) for value in said.values("stepvalue")),
        _int(said, "max_iter"),
    )


def _prefix(said: CheckedMessage, path: Path) -> str:
    prefix = str(said.value("snapshot_prefix"))
    if not prefix:
        return str(path.with_suffix(""))
    return str(Path(prefix) / path.stem) if Path(prefix).is_dir() else prefix


def _weights(said: CheckedMessage) -> Iterable[str]:
    for names in said.values("weights"):
        yield from (name.strip() for name in str(names).split(",") if name.strip())


# -- checks ------------------------------------------------------------------------------------------


def _type(said: CheckedMessage, collector: Collector) -> SolverType | None:
    """`type`, or the old `solver_type` in its words."""
    old, new = said.field("solver_type"), said.field("type")
    if old is not None and new is not None:
        message = "`solver_type` and `type` are both set, and Caffe refuses to choose between them"
        related = (Label(old.name_span, "the old field"),)
        collector.add(Diagnostic("AM914", message, span=new.name_span, related=related, help="keep `type`"))
        return None
    if old is not None:
        return _OLD_TYPES[str(old.value)]
    return _word(said, "type", SOLVER_TYPES, collector)


def _policy(said: CheckedMessage, collector: Collector) -> LrPolicy | None:
    if not said.has("lr_policy"):
        message = "`lr_policy` is missing, so there is no learning rate"
        help = f'write `lr_policy: "fixed"`, or one of {", ".join(LR_POLICIES[1:])}'
        collector.add(Diagnostic("AM912", message, span=_head(said), help=help))
        return None
    policy: LrPolicy | None = _word(said, "lr_policy", LR_POLICIES, collector)
    if policy is None:
        return None
    if policy in NEEDS_GAMMA and _float(said, "gamma") < 0:
        _bad_number(said, "gamma", f"must not be negative for `{policy}`", collector)
    if policy in NEEDS_STEPSIZE and _int(said, "stepsize") < 1:
        _bad_number(said, "stepsize", f"must be 1 or more for `{policy}`", collector)
    return policy


def _regularization(said: CheckedMessage, collector: Collector) -> Regularization | None:
    """As in Caffe, the word counts only where there is a decay."""
    if not _float(said, "weight_decay"):
        return "L1" if said.value("regularization_type") == "L1" else "L2"
    return _word(said, "regularization_type", _REGULARIZATIONS, collector)


def _word(said: CheckedMessage, name: str, known: tuple[Word, ...], collector: Collector) -> Word | None:
    given = str(said.value(name))
    found = next((word for word in known if word == given), None)
    if found is None:
        exact = {word.lower(): word for word in known}.get(given.lower())
        help = f"did you mean `{exact}`?" if exact else did_you_mean(given, known)
        message = f"`{name}` cannot be `{given[:40]}`; it is one of {', '.join(known)}"
        collector.add(Diagnostic("AM912", message, span=_place(said, name), help=help))
    return found


def _check_numbers(said: CheckedMessage, collector: Collector) -> None:
    for name in _NOT_NEGATIVE:
        if _int(said, name) < 0:
            _bad_number(said, name, "must be 0 or more", collector)
    for name in _POSITIVE:
        if _int(said, name) < 1:
            _bad_number(said, name, "must be 1 or more", collector)
    for entry in said.fields:
        if isinstance(entry.value, float) and not math.isfinite(entry.value):
            message = f"`{entry.name}` is {entry.value}, which no weight survives"
            collector.add(Diagnostic("AM913", message, span=entry.span, help="write a finite number"))
        if entry.name in ("stepvalue", "test_iter") and isinstance(entry.value, int) and entry.value < 0:
            message = f"`{entry.name}` is {entry.value}, and must be 0 or more"
            collector.add(Diagnostic("AM913", message, span=entry.span))


def _check_type(said: CheckedMessage, kind: SolverType | None, collector: Collector) -> None:
    if kind in _WITHOUT_MOMENTUM and _float(said, "momentum"):
        message = f"`momentum` cannot be used with {kind}"
        help = "leave it out, or take `SGD` or `Adam`"
        collector.add(Diagnostic("AM914", message, span=_place(said, "momentum"), help=help))
    if kind == "RMSProp" and not 0 <= _float(said, "rms_decay") < 1:
        _bad_number(said, "rms_decay", "must lie in 0 … 1, without 1", collector)


def _check_format(said: CheckedMessage, collector: Collector) -> None:
    if said.value("snapshot_format") == "HDF5":
        message = "snapshots in HDF5 are not written here"
        help = "leave `snapshot_format` out: a binary caffemodel has the same weights"
        collector.add(Diagnostic("AM915", message, span=_place(said, "snapshot_format"), help=help))


def _warn_of_effectless(said: CheckedMessage, collector: Collector) -> None:
    for name in ("debug_info", "snapshot_diff"):
        if said.value(name):
            message = f"`{name}` has no effect here"
            collector.add(Diagnostic("AM915", message, Level.WARNING, span=_place(said, name), help="leave it out"))


def _bad_number(said: CheckedMessage, name: str, what: str, collector: Collector) -> None:
    given = said.field(name)
    is_there = f"`{name}` is {given.span.text}, and" if given is not None else f"`{name}` is missing; it"
    collector.add(Diagnostic("AM913", f"{is_there} {what}", span=_place(said, name)))


def _place(said: CheckedMessage, name: str) -> Span:
    """Where a field stands; for one that does not, the policy that asks for it, or the file's beginning."""
    entry = said.field(name) or said.field("lr_policy")
    return entry.span if entry is not None else _head(said)


def _head(said: CheckedMessage) -> Span:
    return said.fields[0].name_span if said.fields else said.span


def _float(said: CheckedMessage, name: str) -> float:
    value = said.value(name)
    assert isinstance(value, int | float)
    return float(value)


def _int(said: CheckedMessage, name: str) -> int:
    value = said.value(name)
    assert isinstance(value, int)
    return value
