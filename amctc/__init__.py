"""amctc: a declarative compiler for neural-network quantization.

`amctc.compile(model, weights, policy=…, data=…, output=…)` does the main job; `amctc.load` and
`amctc.run` look at a model and execute it. See docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amctc.diagnostics import Diagnostic, DiagnosticError
    from amctc.driver import CompileResult, compile, evaluate
    from amctc.frontends import load_model as load
    from amctc.ir import Graph
    from amctc.policy import Policy
    from amctc.runtime.datasets import Dataset
    from amctc.runtime.executor import run_graph as run
    from amctc.runtime.hostops.custom import register_host_op

__version__ = "0.1.0"

__all__ = [
    "CompileResult",
    "Dataset",
    "Diagnostic",
    "DiagnosticError",
    "Graph",
    "Policy",
    "compile",
    "evaluate",
    "load",
    "register_host_op",
    "run",
]

# Imported when they are first asked for, so that `import amctc` and `amctc --help` answer at once.
_PLACES = {
    "CompileResult": ("amctc.driver", "CompileResult"),
    "Dataset": ("amctc.runtime.datasets", "Dataset"),
    "Diagnostic": ("amctc.diagnostics", "Diagnostic"),
    "DiagnosticError": ("amctc.diagnostics", "DiagnosticError"),
    "Graph": ("amctc.ir", "Graph"),
    "Policy": ("amctc.policy", "Policy"),
    "compile": ("amctc.driver", "compile"),
    "evaluate": ("amctc.driver", "evaluate"),
    "load": ("amctc.frontends", "load_model"),
    "register_host_op": ("amctc.runtime.hostops.custom", "register_host_op"),
    "run": ("amctc.runtime.executor", "run_graph"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module `amctc` has no attribute `{name}`")
    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)
