"""amctc: a declarative compiler for neural-network quantization.

`amctc.compile(model, weights, policy=…, data=…, output=…)` does the main job; `amctc.load` and
`amctc.run` look at a model and execute it. `amctc.register_pass` and its like add to what amctc does. See
docs/python.md and docs/passes.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand

if TYPE_CHECKING:
    from amctc.diagnostics import Diagnostic, DiagnosticError
    from amctc.dialects.op import OpDef
    from amctc.driver import Comparison, CompileResult, ExportResult, compare, compile, convert, evaluate, export
    from amctc.frontends import load_model as load
    from amctc.ir import Graph, Node
    from amctc.pipeline.context import Context
    from amctc.pipeline.emission import Emission
    from amctc.pipeline.options import option
    from amctc.pipeline.pass_ import Pass
    from amctc.pipeline.pattern import Match
    from amctc.pipeline.rewrite import RewritePass
    from amctc.pipeline.target import Target
    from amctc.plugins import load_plugins
    from amctc.policy import Policy
    from amctc.quant.observers import Observer, register_observer
    from amctc.registration import register_op, register_pass, register_pipeline, register_target, registration_of
    from amctc.runtime.datasets import Dataset
    from amctc.runtime.executor import run_graph as run
    from amctc.runtime.hostops.custom import register_host_op

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "CompileResult",
    "Context",
    "Dataset",
    "Diagnostic",
    "DiagnosticError",
    "Emission",
    "ExportResult",
    "Graph",
    "Match",
    "Node",
    "Observer",
    "OpDef",
    "Pass",
    "Policy",
    "RewritePass",
    "Target",
    "compare",
    "compile",
    "convert",
    "evaluate",
    "export",
    "load",
    "load_plugins",
    "option",
    "register_host_op",
    "register_observer",
    "register_op",
    "register_pass",
    "register_pipeline",
    "register_target",
    "registration_of",
    "run",
]

# Imported when they are first asked for, so that `import amctc` and `amctc --help` answer at once.
__getattr__ = on_demand(
    __name__,
    {
        "Comparison": "amctc.driver",
        "CompileResult": "amctc.driver",
        "Context": "amctc.pipeline.context",
        "Dataset": "amctc.runtime.datasets",
        "Diagnostic": "amctc.diagnostics",
        "DiagnosticError": "amctc.diagnostics",
        "ExportResult": "amctc.driver",
        "Emission": "amctc.pipeline.emission",
        "Graph": "amctc.ir",
        "Match": "amctc.pipeline.pattern",
        "Node": "amctc.ir",
        "Observer": "amctc.quant.observers",
        "OpDef": "amctc.dialects.op",
        "Pass": "amctc.pipeline.pass_",
        "Policy": "amctc.policy",
        "RewritePass": "amctc.pipeline.rewrite",
        "Target": "amctc.pipeline.target",
        "compare": "amctc.driver",
        "compile": "amctc.driver",
        "convert": "amctc.driver",
        "evaluate": "amctc.driver",
        "export": "amctc.driver",
        "load": "amctc.frontends:load_model",
        "load_plugins": "amctc.plugins",
        "option": "amctc.pipeline.options",
        "register_host_op": "amctc.runtime.hostops.custom",
        "register_observer": "amctc.quant.observers",
        "register_op": "amctc.registration",
        "register_pass": "amctc.registration",
        "register_pipeline": "amctc.registration",
        "register_target": "amctc.registration",
        "registration_of": "amctc.registration",
        "run": "amctc.runtime.executor:run_graph",
    },
)
