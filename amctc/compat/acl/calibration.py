"""`aclgrph_calibration`: a float graph of the Graph Engine made a quantized one, in place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from amctc.compat.acl.dumps import Dumps
from amctc.compat.acl.graph import Graph
from amctc.compat.acl.log import CallLog, dumping
from amctc.compat.acl.status import GRAPH_FAILED, GRAPH_NOT_CHANGED, GRAPH_SUCCESS
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import Collector, DiagnosticError, error
from amctc.driver.ge import GeCalibration, calibrate_ge, read_settings
from amctc.driver.ge.calibrate import nothing_to_quantize
from amctc.driver.ge.settings import log_level
from amctc.frontends.ge import graph_of_model
from amctc.ir import Graph as NetGraph
from amctc.targets.ge.ascend import AscendForm
from amctc.targets.ge.crossing import in_ge
from amctc.targets.ge.model import model_message
from amctc.targets.ge.target import GeTarget

_PART: Final = "aclgrphCalibration"


def aclgrph_calibration(graph: Graph | NetGraph, quantize_configs: Mapping[str, str]) -> int:
    """Make a float graph the quantized one, as the keys say (seed 000; docs/ge.md has them all).

    `graph` is one that was read from a `.air` file, or any graph of amctc that GE has ops for. Gives GRAPH_SUCCESS, or
    GRAPH_FAILED where something is wrong, which the log tells: the graph is as it was then. Gives GRAPH_NOT_CHANGED
    where it has no layer to quantize. What `AMCT_LOG_DUMP` and `ASCEND_WORK_PATH` ask for is written besides.
    """
    items = list(quantize_configs.items()) if isinstance(quantize_configs, Mapping) else []  # pyright: ignore[reportUnnecessaryIsInstance]
    log = CallLog(log_level(items), dumping(os.environ))
    log.event(_PART, "begins")
    told = Collector()
    try:
        if not isinstance(quantize_configs, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise error("AM882", f"the keys are of type `{type(quantize_configs).__name__}`, but must be a mapping")
        made = _calibrated(graph, items, told, log)
        log.tell(_PART, told.warnings)
    except DiagnosticError as mistakes:
        if nothing_to_quantize(mistakes.diagnostics):
            log.warning(_PART, f"nothing is done: {mistakes.diagnostics[0].message}")
            log.event(_PART, "is done; the graph has not changed")
            return GRAPH_NOT_CHANGED
        log.tell(_PART, [found for found in told.warnings if found not in mistakes.diagnostics])
        log.tell(_PART, mistakes.diagnostics)
        log.event(_PART, "has failed; the graph has not changed")
        return GRAPH_FAILED
    if not made.quantized:
        log.event(_PART, "is done; the graph has not changed")
        return GRAPH_NOT_CHANGED
    (graph.net if isinstance(graph, Graph) else graph).take_over(made.graph)
    count = "1 layer is" if made.quantized == 1 else f"{made.quantized} layers are"
    log.event(_PART, f"is done: {count} quantized")
    return GRAPH_SUCCESS


def _calibrated(graph: object, items: list[tuple[str, str]], told: Collector, log: CallLog) -> GeCalibration:
    if not isinstance(graph, Graph | NetGraph):
        given = "None" if graph is None else f"of type `{type(graph).__name__}`"
        help = "give a `Graph` that `load_from_file` has filled"
        raise error("AM882", f"`graph` is {given}, but must be a graph", help=help)
    settings = read_settings(items, told)
    for note in settings.notes:
        log.info(_PART, note)
    net, file = (graph.net, graph.file) if isinstance(graph, Graph) else (graph, graph.name or "graph")
    made = calibrate_ge(
        _copies(net, file),
        settings,
        file=file,
        collector=told,
        instruments=(LoggedPasses(lambda: log.logger), Dumps(log)),
    )
    # What GE has no form for is told now, and not when the graph is saved.
    GeTarget().emit(made.graph)
    for each in made.inputs:
        log.info(_PART, f"the input `{each.name}` was given {made.batches} batches of {list(each.shape)}")
    return made


def _copies(net: NetGraph, file: str) -> Callable[[Collector], NetGraph]:
    """Copies of a graph, which stays as it is: what is written of it, read again."""
    empty = not len(net)
    model = None if empty else model_message(in_ge(net), AscendForm())
    # What there is to warn of was told when the graph was read.
    return lambda told: NetGraph(net.name) if model is None else graph_of_model(model, file, Collector())
