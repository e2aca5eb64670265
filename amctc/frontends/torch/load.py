"""A torch model to a graph of the onnx dialect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from amctc.diagnostics import Collector
from amctc.torch_missing import need_torch

if TYPE_CHECKING:
    from amctc.ir import Graph


def load_torch(model: str | Path, collector: Collector | None = None) -> Graph:
    """The graph of a `.pt2` file, or of what a function gives that is named `module:function`.

    Layers have the names of torch's modules. Warnings go to `collector`. Raises `DiagnosticError`: AM480 to AM484
    with what is wrong, AM900 where torch is not installed, and what `load_onnx` raises.
    """
    need_torch("a torch model")
    from amctc.frontends.onnx import graph_of_model
    from amctc.frontends.torch.export import export_program
    from amctc.frontends.torch.function import export_function
    from amctc.frontends.torch.program_file import read_program

    proto = export_program(read_program(model)) if Path(model).suffix.lower() == ".pt2" else export_function(str(model))
    return graph_of_model(proto, str(model), collector if collector is not None else Collector())
