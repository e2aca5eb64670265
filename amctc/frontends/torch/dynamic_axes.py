"""Axes of inputs that are free: from the words of `torch.onnx.export` to those of `torch.export`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from amctc.diagnostics import did_you_mean, error

if TYPE_CHECKING:
    import onnx_ir as ir

DynamicAxes: TypeAlias = "Mapping[str, Mapping[int, str] | Sequence[int]]"
"""For the name of an input or output, its free axes, or the names of these by axis."""

_HELP = "it has the inputs' names and, for each, the axes that are free: `{'x': {0: 'batch'}}`"

_Shapes: TypeAlias = "tuple[Any, ...] | None"


def dynamic_shapes(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    names: Sequence[str] | None,
    outputs: Sequence[str] | None,
    axes: DynamicAxes | None,
) -> tuple[tuple[Any, ...], _Shapes]:
    """The example inputs and, one for each, which of their axes are free.

    An input whose size along a free axis is 1 is repeated there: torch takes the size 1 for one that never changes.
    Raises `DiagnosticError` (AM481) for names and axes that the inputs do not have.
    """
    if not axes:
        return args, None
    given = list(names) if names is not None else _argument_names(module, len(args))
    free = {name: tuple(each) for name, each in axes.items()}
    shapes: list[Any] = []
    examples: list[Any] = []
    for name, example in zip(given, args, strict=False):
        own = free.pop(name, ())
        if own and not isinstance(example, torch.Tensor):
            raise error("AM481", f"`dynamic_axes` names the input `{name}`, which is no tensor", help=_HELP)
        for axis in own:
            if not -example.ndim <= axis < example.ndim:
                message = f"`dynamic_axes` frees axis {axis} of `{name}`, which has {example.ndim} axes"
                raise error("AM481", message, help=_HELP)
        places = [axis % example.ndim for axis in own]
        examples.append(_repeated(example, places))
        shapes.append(dict.fromkeys(places, torch.export.Dim.DYNAMIC) or None)
    wrong = next((name for name in free if name not in (outputs or ())), None)
    if wrong is not None:
        message = f"`dynamic_axes` names `{wrong}`, which is no input"
        raise error("AM481", message, help=did_you_mean(wrong, given) or _HELP)
    rest = args[len(examples) :]
    return (*examples, *rest), (*shapes, *(None for _ in rest))


def _repeated(example: Any, axes: Sequence[int]) -> Any:
    ones = [axis for axis in axes if example.shape[axis] == 1]
    return example.repeat([2 if axis in ones else 1 for axis in range(example.ndim)]) if ones else example


def named_axes(graph: ir.Graph, axes: DynamicAxes | None) -> None:
    """Give the free axes of a graph the names that were asked for, wherever they stand."""
    import onnx_ir as ir

    names: dict[str, str] = {}
    for value in graph.inputs:
        for axis, label in _labels(str(value.name), (axes or {}).get(str(value.name), ())):
            dim = value.shape[axis] if value.shape is not None else None
            if isinstance(dim, ir.SymbolicDim) and dim.value is not None:
                names.setdefault(dim.value, label)
    if not names:
        return
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(dim, names) for dim in value.shape])


def _renamed(dim: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | str | None:
    return dim if isinstance(dim, int) else names.get(str(dim.value), dim.value)


def _labels(name: str, axes: Mapping[int, str] | Sequence[int]) -> list[tuple[int, str]]:
    if isinstance(axes, Mapping):
        return [(axis, str(label)) for axis, label in axes.items()]
    return [(axis, f"{name}_{axis}") for axis in axes]


def _argument_names(module: torch.nn.Module, count: int) -> list[str]:
    """The names of the first so many arguments of `forward` by position, as torch's exporter has them."""
    found: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            found += [f"{parameter.name}_{number}" for number in range(count - len(found))]
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found.append(parameter.name)
    return found[:count]
