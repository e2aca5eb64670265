"""Ascend GE's files to graphs of the ge dialect."""

from amctc.frontends.ge.load import load_ge

__all__ = ["load_ge"]
