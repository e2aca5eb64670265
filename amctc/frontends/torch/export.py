"""Torch modules and exported programs to ONNX models, by torch's own exporter."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import torch

from amctc.diagnostics import DiagnosticError, error
from amctc.frontends.torch.dynamic_axes import DynamicAxes, dynamic_shapes, named_axes
from amctc.frontends.torch.fold_constants import fold_constants
from amctc.frontends.torch.layers import Layers, layers_of_module, layers_of_nodes, name_nodes
from amctc.frontends.torch.linear_form import plain_linear
from amctc.frontends.torch.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Generator

    import onnx
    from torch.export import ExportedProgram

_FIXED: Final = "but your code specialized it to be a constant"

Inputs: TypeAlias = "torch.Tensor | Sequence[Any]"
"""Example inputs: one tensor, or what the module's `forward` takes by position."""


def export_module(
    module: torch.nn.Module,
    inputs: Inputs,
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
) -> onnx.ModelProto:
    """The ONNX model of a module in eval mode; the module is left as it was.

    The node that computes a layer has the layer's qualified name (`layer1.0.conv1`), see `name_nodes`, and weights
    have those of torch's parameters; `module_nodes` says which node computes which module. Inputs have the names of
    `forward`'s arguments, unless `input_names` are given. `dynamic_axes` is as in `torch.onnx.export`: for the name
    of an input the axes that are free, or their names by axis. Raises `DiagnosticError` (AM480) where torch cannot
    export the module.
    """
    args = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    args, shapes = dynamic_shapes(module, args, input_names, output_names, dynamic_axes)
    layers = layers_of_module(module)
    with _in_eval_mode(module), _telling():
        program = torch.export.export(module, args, dynamic_shapes=shapes, strict=False)
        return _model(program, layers, input_names, output_names, dynamic_axes)


def export_program(program: ExportedProgram) -> onnx.ModelProto:
    """The ONNX model of an exported program, as `export_module` names it. Raises `DiagnosticError` (AM480)."""
    with _telling():
        return _model(program, None, None, None, None)


def _model(
    program: ExportedProgram,
    layers: Layers | None,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
    dynamic_axes: DynamicAxes | None,
) -> onnx.ModelProto:
    exported = torch.onnx.export(
        program, dynamo=True, optimize=False, verbose=False, input_names=input_names, output_names=output_names
    )
    assert exported is not None
    graph = exported.model.graph
    plain_linear(graph)
    found = layers if layers is not None else layers_of_nodes(graph, graph.initializers)
    fold_constants(exported.model)
    name_nodes(graph, found)
    named_axes(graph, dynamic_axes)
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    exported.model.metadata_props.clear()
    graph.metadata_props.clear()
    return exported.model_proto


@contextmanager
def _in_eval_mode(module: torch.nn.Module) -> Generator[None]:
    modes = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, training in modes:
            each.training = training


@contextmanager
def _telling() -> Generator[None]:
    """Keep torch quiet, and turn what it raises into a diagnostic: a module is user code, and can raise anything."""
    try:
        with quiet(), torch.no_grad():
            yield
    except DiagnosticError:
        raise
    except Exception as failure:
        raise _cannot_export(failure) from failure


def _cannot_export(failure: BaseException) -> DiagnosticError:
    causes: list[BaseException] = [failure]
    while (inner := causes[-1].__cause__) is not None and inner not in causes:
        causes.append(inner)
    root = causes[-1]
    fixed = next((line.strip(" -") for each in causes for line in str(each).splitlines() if _FIXED in line), None)
    if fixed is not None:
        message = "an axis that is to be free has a fixed size in this module: " + fixed.partition(". ")[0][:200]
        help = "leave it out of `dynamic_axes`; an LSTM or GRU is exported for one number of steps"
        return error("AM480", message, help=help)
    said = next((line.strip() for line in str(root).splitlines() if line.strip()), "")
    message = f"torch cannot export this module: {type(root).__name__}{': ' if said else ''}{said[:300]}"
    help = "see that `torch.export.export(module, inputs)` and `torch.onnx.export(…, dynamo=True)` take it"
    return error("AM480", message, help=help)
