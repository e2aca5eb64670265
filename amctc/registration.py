"""Registering: what plug-ins and scripts call, once it is sure that what they register can work."""

from __future__ import annotations

import dataclasses
import inspect
import re
from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.custom import OPS, foreign_row, is_type_name
from amctc.dialects.op import OpDef
from amctc.dialects.table import builtin_ops
from amctc.pipeline.options import OptionError, options_of
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pattern import PatternError, parse_pattern
from amctc.pipeline.rewrite import RewritePass
from amctc.pipeline.target import Target
from amctc.registered import BUILT_IN, Registration, clash, owner_here, span_of_caller, wrong_call
from amctc.registry import PASSES, PIPELINES, TARGETS, builtin_registry

PassKind = TypeVar("PassKind", bound=type[Pass])
TargetKind = TypeVar("TargetKind", bound=type[Target])

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_GROUP = "fixpoint"
_ORDERS = ("after", "before", "needs_before", "needs_after")
_FLAGS = ("preserves_numbers", "needs_policy", "needs_calibration", "needs_record")
_PASS_METHODS: Mapping[str, tuple[str, ...]] = {
    "run": ("graph", "context"),
    "skip_reason": ("context",),
    "check_node": ("node", "match", "context"),
    "check": ("match", "context"),
    "rewrite": ("match", "graph", "context"),
}
_TARGET_METHODS: Mapping[str, tuple[str, ...]] = {"emit": ("graph",), "emit_with": ("graph", "emission")}
"""Methods and their parameters behind `self`."""


def register_pass(kind: PassKind) -> PassKind:
    """Register a pass in this process, under its `name`; stands above `@dataclass(frozen=True)`.

    Whoever registered a name may register it again, and the later class counts. Raises `DiagnosticError`: AM520 for
    a name that another has, AM523 for a class that cannot be a pass.
    """
    _raise_first(kind, "pass", _pass_problems(kind))
    _enter_step("pass", kind.name, kind.__module__)
    PASSES.enter(kind.name, kind, owner_here(kind.__module__))
    return kind


def register_target(kind: TargetKind) -> TargetKind:
    """Register a target in this process, under its `name`. Raises as `register_pass` does."""
    _raise_first(kind, "target", _target_problems(kind))
    if kind.name in builtin_registry().targets:
        raise clash("target", kind.name, BUILT_IN, owner_here(kind.__module__).name)
    TARGETS.enter(kind.name, kind, owner_here(kind.__module__))
    return kind


def register_pipeline(name: str, text: str) -> Registration:
    """Register a pipeline in its text form under a name; it is read when it is used.

    Raises `DiagnosticError`: AM520 for a name that another pipeline or a pass has, AM523 for what is no name or text.
    """
    if not _is_name(name):
        raise _wrong(f"the pipeline {name!r}", f"{name!r} is no name", _NAME_HELP, owner_here().name)
    if not isinstance(text, str) or not text.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        help = "write passes separated by commas, e.g. `fuse-batchnorm,my-pass`"
        raise _wrong(f"the pipeline `{name}`", "it has no text", help, owner_here().name)
    _enter_step("pipeline", name, None)
    return PIPELINES.enter(name, text, owner_here())


def register_op(row: OpDef) -> Registration:
    """Register an op that the op table lacks, of Caffe's dialect or a new one: what its row says holds everywhere.

    Its layers run where `register_host_op` has a function for them. Raises `DiagnosticError`: AM520 for a name that
    another has, AM523 for a row that cannot be one.
    """
    owner = owner_here()
    problem = _row_problem(row)
    if problem is not None:
        name = row.name if isinstance(row, OpDef) else type(row).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _wrong(f"the op `{name}`", *problem, owner.name)
    if row.name in builtin_ops():
        raise clash("op", row.name, BUILT_IN, owner.name)
    return OPS.enter(row.name, foreign_row(row), owner)


def _row_problem(row: OpDef) -> tuple[str, str] | None:
    if not isinstance(row, OpDef):  # pyright: ignore[reportUnnecessaryIsInstance]
        return "it is no OpDef", "make one: `amctc.dialects.op.OpDef(name=…, …)`"
    dialect, _, kind = row.name.partition(".")
    if re.fullmatch(r"[a-z][a-z0-9_]*", dialect) is None or not is_type_name(kind):
        return f"its name {row.name!r} is not of the form `dialect.Type`", "write, say, `caffe.HardSwish`"
    if dialect == "quant":
        return "the dialect `quant` is that of amctc alone", "write the op in a dialect of its own"
    if not row.summary.strip():
        return "it has no summary", "say in a few words what it is: `amctc ops` shows it"
    for name, function in (("infer", row.infer), ("weight_shapes", row.weight_shapes)):
        problem = wrong_call(function, ("node", "shapes"))
        if problem is not None:
            return f"its `{name}`: {problem}", f"write `{name}(node, shapes)`"
    problem = wrong_call(row.aliases, ("node",))
    if problem is not None:
        return f"its `aliases`: {problem}", "write `aliases(node)`"
    return None


def registration_of(kind: type[Pass] | type[Target]) -> Registration:
    """What takes a registered pass or target back. KeyError where it is not registered now."""
    for table in (PASSES, TARGETS):
        row = table.rows.get(kind.name)
        if row is not None and row.value is kind:
            return table.registration(kind.name)
    raise KeyError(kind.name)


def _enter_step(what: str, name: str, module: str | None) -> None:
    """Raise AM520 where the text form of a pipeline would mean two things by a name."""
    ours = builtin_registry()
    if name in ours.passes or name in ours.pipelines or name == _GROUP:
        raise clash(what, name, BUILT_IN, owner_here(module).name)
    other = PIPELINES if what == "pass" else PASSES
    row = other.rows.get(name)
    if row is not None:
        raise clash(what, name, row.owner.name, owner_here(module).name)


_NAME_HELP = "a name is small letters and digits, with `-` between words: `my-pass`"


def _is_name(name: object) -> bool:
    return isinstance(name, str) and len(name) <= 100 and _NAME.fullmatch(name) is not None


def _raise_first(kind: object, what: str, problems: Iterator[tuple[str, str]]) -> None:
    found = next(problems, None)
    if found is not None:
        module = getattr(kind, "__module__", None)
        name = getattr(kind, "__qualname__", type(kind).__name__)
        raise _wrong(f"the {what} `{name}`", *found, owner_here(module if isinstance(module, str) else None).name)


def _wrong(thing: str, problem: str, help: str, owner: str) -> DiagnosticError:
    return error("AM523", f"{thing} of {owner} cannot be registered: {problem}", span_of_caller(), help=help)


def _class_problems(kind: Any, base: type[ABC], methods: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """What is wrong with a class, and what to change."""
    if not isinstance(kind, type):
        yield "it is no class", f"give the class itself, derived from `amctc.{base.__name__}`"
        return
    if not issubclass(kind, base):
        yield f"it is not derived from `amctc.{base.__name__}`", f"write `class {kind.__name__}(amctc.{base.__name__})`"
        return
    name = getattr(kind, "name", None)
    if not isinstance(name, str):
        yield "it has no `name`", f'add `name: ClassVar[str] = "{_kebab(kind.__name__)}"`'
    elif not _is_name(name):
        yield f"its name {name!r} is not kebab-case", _NAME_HELP
    doc = kind.__doc__ or ""
    if not doc.strip() or doc.startswith(f"{kind.__name__}("):  # which `dataclass` writes
        yield "it has no docstring", "say in one sentence what it does: `amctc` shows it"
    for method, parameters in methods.items():
        yield from _method_problems(kind, method, parameters)
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        signature = f"def {missing[0]}({', '.join(('self', *methods.get(missing[0], ())))})"
        yield f"it has no method `{missing[0]}`", f"add `{signature}`"


def _method_problems(kind: type[Any], method: str, parameters: Sequence[str]) -> Iterator[tuple[str, str]]:
    try:
        found = inspect.getattr_static(kind, method)
    except AttributeError:
        return
    if not inspect.isfunction(found):
        problem: str | None = "that is no plain method"
    else:
        problem = wrong_call(found, ("self", *parameters))
    if problem is not None:
        wanted = f"def {method}({', '.join(('self', *parameters))})"
        yield f"its method `{method}`: {problem}", f"write `{wanted}`, which returns its result"


def _pass_problems(kind: Any) -> Iterator[tuple[str, str]]:
    yield from _class_problems(kind, Pass, _PASS_METHODS)
    parameters = kind.__dict__.get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        yield "it is not a frozen dataclass", "write `@dataclass(frozen=True)` above it, under `@amctc.register_pass`"
        return
    yield from _option_problems(kind, ("name", "pattern", *_ORDERS, *_FLAGS))
    for order in _ORDERS:
        names = getattr(kind, order)
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            yield f"its `{order}` is {names!r}", f'write names of passes in a tuple: `{order} = ("fuse-batchnorm",)`'
    for flag in _FLAGS:
        if not isinstance(getattr(kind, flag), bool):
            yield f"its `{flag}` is {getattr(kind, flag)!r}", f"write `{flag} = True` or `False`"
    if issubclass(kind, RewritePass):
        yield from _pattern_problems(kind)


def _pattern_problems(kind: type[RewritePass]) -> Iterator[tuple[str, str]]:
    pattern: object = getattr(kind, "pattern", None)
    if not isinstance(pattern, str):
        yield "it has no `pattern`", 'add `pattern: ClassVar[str] = "Convolution -> ReLU"`'
        return
    try:
        parse_pattern(pattern)
    except PatternError as problem:
        yield (
            f"its pattern cannot be read: {problem}",
            "write layer types and traits joined by `->`: `linear -> Scale?`",
        )


def _target_problems(kind: Any) -> Iterator[tuple[str, str]]:
    yield from _class_problems(kind, Target, _TARGET_METHODS)
    parameters = kind.__dict__.get("__dataclass_params__")
    undecorated = [name for name, value in vars(kind).items() if isinstance(value, dataclasses.Field)]
    if (parameters is not None and not parameters.frozen) or undecorated:
        problem = f"it has the option `{undecorated[0]}`, and is no dataclass" if undecorated else "it is not frozen"
        yield problem, "write `@dataclass(frozen=True)` above it, under `@amctc.register_target`"
        return
    if parameters is not None:
        yield from _option_problems(kind, ("name",))
    try:
        inspect.signature(kind).bind()
    except TypeError:
        yield "it is made with arguments", "a target is made without any: give the parameters defaults"


def _option_problems(kind: type[Any], taken: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the options of a dataclass; `taken` are what belongs to the class, and can be none."""
    for field in dataclasses.fields(kind):
        if field.name in taken:
            yield f"its `{field.name}` is an option", f"write `{field.name}: ClassVar[…]`, as it belongs to the class"
    try:
        options_of(kind)
    except OptionError as problem:
        yield str(problem), "options are fields of type bool, int, float, str, Literal or Enum, with a default"


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
