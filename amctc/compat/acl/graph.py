"""What stands for `ge::Graph`: a graph that can be read from a file, changed in place, and written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from amctc.air.files import air_bytes
from amctc.air.verify import check_air
from amctc.compat.acl.log import CallLog
from amctc.compat.acl.status import GRAPH_FAILED, GRAPH_SUCCESS
from amctc.diagnostics import Collector, DiagnosticError, error
from amctc.frontends.ge import load_ge
from amctc.ir import Graph as NetGraph
from amctc.output import write_files
from amctc.targets.ge.ascend import AscendForm
from amctc.targets.ge.crossing import in_ge
from amctc.targets.ge.model import model_message

_MODE: Final = 0o640
"""Of a file that is new. GE gives its files 0400, which keeps even their owner from writing them again."""


class Graph:
    """A graph of the Graph Engine. `net` is what is in it: a graph of the ge dialect, or of one that GE has ops for."""

    def __init__(self, name: str = "graph", net: NetGraph | None = None) -> None:
        self.name = name
        self.net = net if net is not None else NetGraph(name)
        self.file = name
        """What the graph is called in messages: the file that it was read from, or its name."""

    def load_from_file(self, path: str | os.PathLike[str]) -> int:
        """Read a `.air` file, in place of what was in the graph; GRAPH_FAILED, and no change, where that fails."""

        def load(log: CallLog) -> None:
            collector = Collector()
            file = _path(path)
            net = load_ge(file, collector)
            log.tell("Graph", collector.warnings)
            self.net, self.file = net, str(file)

        return _done(load)

    def save_to_file(self, path: str | os.PathLike[str]) -> int:
        """Write the graph as a `.air` file; GRAPH_FAILED, and no change, where that fails or GE would not read it.

        A file that is new may be read and written by its owner and read by the group (0640); one that is there keeps
        its permissions.
        """

        def save(log: CallLog) -> None:
            if not len(self.net):
                raise error("AM884", "the graph is empty", file=self.file, help="load a file into it first")
            file = _path(path)
            model = model_message(in_ge(self.net), AscendForm())
            check_air(model, self.file)
            new = not file.exists()
            write_files({file: air_bytes(model)})
            if new:
                file.chmod(_MODE)

        return _done(save)

    def __repr__(self) -> str:
        return f"Graph({self.name!r}, {len(self.net)} nodes)"


def _done(work: Callable[[CallLog], None]) -> int:
    log = CallLog()
    try:
        work(log)
    except DiagnosticError as mistakes:
        log.tell("Graph", mistakes.diagnostics)
        return GRAPH_FAILED
    return GRAPH_SUCCESS


def _path(path: object) -> Path:
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        if isinstance(text, str) and text:
            return Path(text)
    raise error("AM882", f"a path is of type `{type(path).__name__}`, or empty", help="give the path of a file")
