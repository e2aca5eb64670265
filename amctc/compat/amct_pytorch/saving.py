"""The quantized models: save_model."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from amctc.compat import arguments
from amctc.compat.amct_pytorch.balance import divide_data
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.compat.amct_pytorch.modified_model import load_modified
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import Collector, error
from amctc.driver.conversion import converted_graph
from amctc.driver.emit import emit_files, find_targets
from amctc.ir import Graph
from amctc.output import write_files
from amctc.records.check_record import validate
from amctc.records.read_record import read_record
from amctc.records.scale_record import ScaleRecord

_SAVED: Final = ("deploy_model.onnx", "fake_quant_model.onnx")

_PIPELINE: Final = "annotate-quant,apply-record,quantize-weights,quantize-bias,insert-quant"
"""What is to be folded has been, in the modified model."""


@told_as_amct
def save_model(modfied_onnx_file: str, record_file: str, save_path: str) -> None:
    """Write the deploy and the fake-quant ONNX model, with the factors that the record has.

    `save_path` begins the names of the files: `{save_path}_deploy_model.onnx` and `{save_path}_fake_quant_model.onnx`,
    without a beginning where it ends in a slash or is a folder. Raises RuntimeError where the record lacks factors, as
    the calibration model has not run on `batch_num` batches.
    """
    modified = arguments.path("modfied_onnx_file", modfied_onnx_file)
    record_path = arguments.path("record_file", record_file)
    prefix = arguments.prefix("save_path", save_path)
    collector = Collector()
    record = read_record(record_path, collector)
    _require_data(record)

    def load(told: Collector) -> Graph:
        graph = load_modified(modified, told)
        validate(record, graph, told)
        for layer in record.layers:
            if layer.balance:
                divide_data(graph.node(layer.name), layer.balance)
        return graph

    # The weights of the modified model are balanced already.
    plain = ScaleRecord(tuple(replace(layer, balance=()) for layer in record.layers), record.source)
    made = converted_graph(load, plain, collector, pipeline=_PIPELINE, instruments=(LoggedPasses(log.logger),))
    log.tell("save_model", collector.warnings)
    files = emit_files(find_targets("onnx"), made.graph, prefix, made.emission)
    kept = {path: content for path, content in files.items() if path.name.endswith(_SAVED)}
    write_files(kept)
    for path in kept:
        log.info("Utils", f"The model file is saved in {path}")


def _require_data(record: ScaleRecord) -> None:
    """Raise AM633 in the original's words where factors of data are missing."""
    missing = [layer.name for layer in record.layers if not layer.inputs and not layer.skip_fusion]
    if not missing:
        return
    rest = "it has those of all other layers" if len(missing) == 1 else f"it lacks those of {len(missing)} layers"
    raise error(
        "AM633",
        f"cannot find scale_d of layer `{missing[0]}` in the record",
        file=record.file,
        notes=(rest, "fewer batches than `batch_num` in the config leave no factors of data at all"),
        help="call the model that `quantize_model` returned on `batch_num` batches before `save_model`",
    )
