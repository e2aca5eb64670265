"""The graph every frontend makes, every pass rewrites and every target reads."""

from amctc.ir.graph import Graph
from amctc.ir.node import Node, Use, Value
from amctc.ir.provenance import Change, Origin, Provenance
from amctc.ir.quantization import Balance, InputQuant, NodeQuant, WeightQuant

__all__ = [
    "Balance",
    "Change",
    "Graph",
    "InputQuant",
    "Node",
    "NodeQuant",
    "Origin",
    "Provenance",
    "Use",
    "Value",
    "WeightQuant",
]
