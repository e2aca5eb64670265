"""A module as the graph that policies and passes speak of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import nn

from amctc.diagnostics import Collector
from amctc.frontends.onnx import load_onnx
from amctc.frontends.torch.export import export_module
from amctc.frontends.torch.layers import ModuleNode, module_nodes
from amctc.ir import Graph

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Exported:
    """The ONNX model of a module; `load` gives a graph of it anew each time."""

    model: ModelProto

    @cached_property
    def graph(self) -> Graph:
        return self.load(Collector())

    @property
    def nodes(self) -> Mapping[str, ModuleNode]:
        """The nodes that compute modules."""
        return module_nodes(self.model)

    def load(self, collector: Collector) -> Graph:
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            path.write_bytes(self.model.SerializeToString())
            return load_onnx(path, collector)


def exported(
    module: nn.Module,
    inputs: Any,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
) -> Exported:
    """The model of a module, whose nodes have the names of its modules. Raises what `export_module` does."""
    names = {"input_names": input_names, "output_names": output_names}
    return Exported(export_module(module, inputs, **names, dynamic_axes=dynamic_axes))
