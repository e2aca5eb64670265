"""Ascend GE's files to graphs of the ge dialect."""

from amctc.frontends.ge.load import graph_of_model, load_ge

__all__ = ["graph_of_model", "load_ge"]
