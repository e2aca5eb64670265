"""Plug-ins as texts, for the tests of what loads them."""

from __future__ import annotations

from amctc.dialects.custom import HOST_OPS, OPS
from amctc.quant.observers import OBSERVERS
from amctc.registry import builtin_registry, current_registry

HEAD = """\
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar, Literal
import amctc
from amctc.dialects.op import ONE
"""

GOOD = '''\
@amctc.register_pass
@dataclass(frozen=True)
class Idle(amctc.Pass):
    """Do nothing."""
    name: ClassVar[str] = "idle"
    def run(self, graph, context):
        return False

@amctc.register_target
class Nothing(amctc.Target):
    """Write nothing."""
    name: ClassVar[str] = "nothing"
    def emit(self, graph):
        return {}

amctc.register_pipeline("lazy", "idle")
amctc.register_host_op("Lazy", lambda node, inputs, shapes: inputs)
amctc.register_observer("lazy", lambda settings, layer: None)
amctc.register_op(amctc.OpDef("lazy.Op", "an op", ONE, ONE, lambda node, shapes: shapes))
'''

PASS = '''\
@amctc.register_pass
@dataclass(frozen=True)
class Idle(amctc.Pass):
    """Do nothing."""
    name: ClassVar[str] = "idle"
    def run(self, graph, context):
        return False
'''
REWRITE = '''\
@amctc.register_pass
@dataclass(frozen=True)
class Idle(amctc.RewritePass):
    """Do nothing."""
    name: ClassVar[str] = "idle"
    pattern: ClassVar[str] = "Convolution -> ReLU"
    def rewrite(self, match, graph, context):
        pass
'''
TARGET = '''\
@amctc.register_target
class Idle(amctc.Target):
    """Write nothing."""
    name: ClassVar[str] = "idle"
    def emit(self, graph):
        return {}
'''


def nothing_is_registered() -> bool:
    ours, now = builtin_registry(), current_registry()
    same = (ours.passes, ours.targets, ours.pipelines) == (now.passes, now.targets, now.pipelines)
    return same and not HOST_OPS.rows and not OPS.rows and not OBSERVERS.rows
