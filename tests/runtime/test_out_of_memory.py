"""A network that needs more memory than there is: a diagnostic that names the layers, in place of a traceback."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.ir import Node
from amctc.ir.node import Shape
from amctc.runtime.executor import Executor
from amctc.runtime.hostops import for_op
from amctc.runtime.hostops.host_op import Arrays
from tests.runtime.nets import one_layer
from tests.shared_files import ROOT

# 6 GB, of an address space of 4 GB: no machine has to run out of memory for it.
LARGE_TILE = """
import resource
import numpy as np
from amctc.diagnostics import DiagnosticError
from amctc.runtime.executor import run_graph
from tests.runtime.nets import one_layer

graph = one_layer("Tile", (8, 1000, 1000), {"tile_param": {"axis": 0, "tiles": 200}})
relu = graph.add("relu", "caffe.ReLU", [graph.outputs[0]], ["relu"])
graph.outputs = [relu.output]
data = np.ones((8, 1000, 1000), np.float32)
run_graph(graph, {"data": data}, ["data"])
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
try:
    run_graph(graph, {"data": data})
except DiagnosticError as told:
    print(told)
"""


def test_layers_that_need_more_memory_than_there_is_are_named() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_TILE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "error[AM421]: not enough memory to run the layers `layer` to `relu`",
        "  note: the largest blob here is `out`, 1600x1000x1000",
        "  help: take smaller batches (`--batch-size`), or a machine with more memory",
    ]


def test_a_host_op_that_needs_more_memory_than_there_is_is_named() -> None:
    def run(node: Node, inputs: Arrays, shapes: tuple[Shape, ...]) -> Arrays:
        raise MemoryError

    graph = one_layer("ReLU", (2, 3))
    executor = Executor(graph, host_ops=[for_op("caffe.ReLU", run)])
    with pytest.raises(DiagnosticError) as caught:
        executor.run({"data": np.ones((2, 3), np.float32)})
    (told,) = caught.value.diagnostics
    assert (told.code, told.message) == ("AM421", "layer `layer` (ReLU): not enough memory to run it")
    assert told.notes == ("the largest blob here is `out`, 2x3",)
    assert told.help is not None
    assert "--batch-size" in told.help
