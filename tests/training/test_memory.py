"""A network that needs more memory than there is: a diagnostic that names the layer."""

from __future__ import annotations

import subprocess
import sys

from tests.shared_files import ROOT

# 6 GB, of an address space of 4 GB: no machine has to run out of memory for it.
LARGE_TILE = """
import resource
import numpy as np
from amctc.diagnostics import DiagnosticError
from amctc.training.network import Network
from tests.runtime.nets import one_layer

network = Network(one_layer("Tile", (8, 1000, 1000), {"tile_param": {"axis": 0, "tiles": 200}}), phase="TRAIN")
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
try:
    network.forward({"data": np.ones((8, 1000, 1000), np.float32)})
except DiagnosticError as told:
    print(told)
"""


def test_a_layer_that_needs_more_memory_than_there_is_is_named() -> None:
    done = subprocess.run([sys.executable, "-c", LARGE_TILE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "error[AM421]: layer `layer` (Tile): not enough memory to run it",
        "  note: the largest blob here is `out`, 1600x1000x1000",
        "  help: take smaller batches (`--batch-size`), or a machine with more memory",
    ]
