"""The files that `AMCT_LOG_DUMP` asks for: the record of factors, and the graph at each stage."""

from __future__ import annotations

from typing import Final

from amctc.air.text_dump import dump_name, dump_text
from amctc.compat.acl.log import WITH_GRAPHS, WITH_RECORD, CallLog
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from amctc.pipeline.pass_ import Pass
from amctc.pipeline.pipeline import Pipeline
from amctc.records.scale_offset import scale_offset_record
from amctc.targets.ge.ascend import AscendForm
from amctc.targets.ge.model import model_message

RECORD: Final = "scale_offset_record.txt"
STAGES: Final = ("original", "fused", "calibrated", "quantized")
"""What the graph files are named for: the graph that was given, with its layers fused, with factors and integer
weights, with the quant ops."""

_WITHOUT_WEIGHTS: Final = 2


class Dumps(Instrument):
    """Writes `ge_proto_0000000N_STAGE.txt` for each stage, without the values of constants, and then the record."""

    def __init__(self, log: CallLog) -> None:
        self._log = log
        self._written: set[str] = set()

    def begin(self, pipeline: Pipeline, graph: Graph, context: Context) -> None:
        self._stage("original", graph)

    def before(self, step: Pass, number: int, graph: Graph, context: Context) -> None:
        if step.name == "annotate-quant":
            self._stage("fused", graph)

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        if run.name == "calibrate":
            self._stage("calibrated", graph)

    def end(self, graph: Graph, context: Context) -> None:
        self._stage("quantized", graph)
        if self._log.dump.level >= WITH_RECORD:
            self._log.save(RECORD, scale_offset_record(graph), WITH_RECORD)

    def _stage(self, name: str, graph: Graph) -> None:
        if self._log.dump.level < WITH_GRAPHS or name in self._written:
            return
        self._written.add(name)
        text = dump_text(model_message(graph, AscendForm()), _WITHOUT_WEIGHTS)
        self._log.save(dump_name(STAGES.index(name), name), text, WITH_GRAPHS)
