"""Post-training quantization step by step, as the original's samples do it.

`init`, `weights_quantize_model`, `activation_quantize_model`, then the calibration model runs in Caffe, or in our
stand-in, which puts the factors into the record; `save_model` reads them there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from amctc.compat import arguments
from amctc.compat.amct_caffe.errors import told_as_amct
from amctc.compat.amct_caffe.log import log
from amctc.compat.amct_caffe.output import save
from amctc.compat.amct_caffe.plan import Plan, update_of
from amctc.compat.amct_caffe.task import Files, Graph, Stage, begin, graph_of
from amctc.compat.logged_passes import LoggedPasses
from amctc.diagnostics import Collector, error
from amctc.driver import ready_to_convert
from amctc.driver.conversion import converted
from amctc.driver.emit import emission_of, emit_files, find_targets
from amctc.ir import Graph as NetGraph
from amctc.ir import Node
from amctc.pipeline.context import Context
from amctc.policy import ResolvedPolicy
from amctc.records.factors import unseen_state, weight_scales, weight_tables
from amctc.records.read_record import merge_into, read_record
from amctc.records.scale_record import LayerRecord, ScaleRecord, record_text
from amctc.targets.caffe.calibration_model import BatchNormUpdate, calibration_model

SAVE_TYPES: Final = ("Both", "Fakequant", "Deploy")

_DEPLOY: Final = ("deploy_", ready_to_convert.ENDING)
_PREFIXES: Final = {"Fakequant": ("fake_quant_",), "Deploy": _DEPLOY, "Both": ("fake_quant_", *_DEPLOY)}
_ALWAYS: Final = ("quant.json", "quant_param_record.txt", "quant_param_record.bin")
"""What the original writes beside the models, of whichever kind."""


@told_as_amct
def init(config_file: str, model_file: str, weights_file: str, scale_offset_record_file: str) -> Graph:
    """Read the config and the model, empty the record, and return the graph that the other functions take.

    Raises what `open` and the config's mistakes give: FileNotFoundError, ValueError, RuntimeError; the record is then
    what it was.
    """
    graph = Graph(Files.of(config_file, model_file, weights_file, scale_offset_record_file))
    graph.read()
    plan = graph.plan
    log.tell("init", graph.context.collector.warnings)
    save({plan.weights: b"", plan.record: b""})
    log.info("init", f"the config {config_file} and the model {model_file} are read")
    return graph


@told_as_amct
def resume(config_file: str, model_file: str, weights_file: str, scale_offset_record_file: str) -> Graph:
    """Go on where another process stopped: like `init`, but the record keeps what it has.

    This is an addition of ours. The graph may go to any of the other functions, `save_model` among them.
    """
    graph = Graph(Files.of(config_file, model_file, weights_file, scale_offset_record_file))
    graph.read()
    told = graph.context.collector
    graph.stage = _stage_of(graph.plan, told)
    log.tell("resume", told.warnings)
    log.info("resume", f"the config {config_file}, the model {model_file} and the record are read")
    return graph


def _stage_of(plan: Plan, told: Collector) -> Stage:
    """How far the records tell that a quantization has come: the first thing in each are the scales of the weights."""
    begun = bool(read_record(plan.weights, told).layers)
    if plan.record == plan.weights:
        return Stage.ACTIVATIONS if begun else Stage.INITIALIZED
    if plan.record.exists() and read_record(plan.record, told).layers:
        return Stage.ACTIVATIONS
    return Stage.WEIGHTS if begun else Stage.INITIALIZED


@told_as_amct
def weights_quantize_model(graph: Graph, modified_model_file: str, modified_weights_file: str) -> None:
    """Quantize the weights, write the model that computes with them in float, and put `scale_w` into the record."""
    _weights(graph, modified_model_file, modified_weights_file)


@told_as_amct
def activation_quantize_model(graph: Graph, modified_model_file: str, modified_weights_file: str) -> None:
    """Write the calibration model: an IFMR layer for each blob whose range is to be learnt.

    Raises RuntimeError where the weights are not quantized yet.
    """
    _activations(graph, modified_model_file, modified_weights_file)


@told_as_amct
def quantize_model(graph: Graph, modified_model_file: str, modified_weights_file: str) -> None:
    """Both steps in one: `weights_quantize_model` and `activation_quantize_model`, as older versions call it."""
    _weights(graph, modified_model_file, modified_weights_file)
    _activations(graph, modified_model_file, modified_weights_file)


def _weights(graph: object, model: object, weights: object) -> None:
    task, files = graph_of(graph), _modified(model, weights)
    net, plan = task.advance(Stage.WEIGHTS), task.plan
    _write_model(task, net, files, update_of(plan, task.policy))
    merge_into(plan.weights, _weight_records(net))
    if plan.refresh is not None:  # what an earlier run has left there is of other weights
        plan.statistics.unlink(missing_ok=True)
    if plan.record != plan.weights:  # so are the factors of the weights after fusion
        save({plan.record: b""})
        task.stage = Stage.WEIGHTS
    task.stage = max(task.stage, Stage.WEIGHTS)
    log.info("weights_quantize_model", f"the model with quantized weights is saved in {files[0]} and {files[1]}")


def _activations(graph: object, model: object, weights: object) -> None:
    task, files = graph_of(graph), _modified(model, weights)
    if task.stage < Stage.WEIGHTS:
        message = "the weights are not quantized yet"
        raise error("AM632", message, help="call `weights_quantize_model` before `activation_quantize_model`")
    net, plan = task.advance(Stage.ACTIVATIONS), task.plan
    _write_model(task, net, files)
    if plan.record != plan.weights:
        save({plan.record: record_text(_weight_records(net)).encode()})
    task.stage = max(task.stage, Stage.ACTIVATIONS)
    log.info("activation_quantize_model", f"the calibration model is saved in {files[0]} and {files[1]}")


def _modified(model: object, weights: object) -> tuple[Path, Path]:
    return (
        Path(arguments.path("modified_model_file", model)),
        Path(arguments.path("modified_weights_file", weights)),
    )


def _write_model(task: Graph, net: NetGraph, files: tuple[Path, Path], update: BatchNormUpdate | None = None) -> None:
    batches = task.policy.general.batch_num.value
    found = calibration_model(net, batch_num=batches, record_file=str(task.plan.record), update=update)
    save({files[0]: found.prototxt.encode(), files[1]: found.caffemodel})


def _weight_records(net: NetGraph) -> Iterator[LayerRecord]:
    for node in net.nodes:
        scales = weight_scales(node)
        if scales is not None and node.quant is not None and node.quant.weight is not None:
            yield LayerRecord(node.name).with_weights(scales, node.quant.weight.bits, weight_tables(node))


@told_as_amct
def save_model(graph: Graph, save_type: str, save_path: str) -> None:
    """Write the quantized models, with the factors that the record has.

    `save_type` is `Fakequant`, `Deploy` or `Both`, and `save_path` begins the names of the files. Raises
    RuntimeError where the record lacks factors, as the calibration model has not run on `batch_num` batches.
    """
    task = graph_of(graph)
    kind = arguments.word("save_type", save_type, SAVE_TYPES)
    prefix = arguments.prefix("save_path", save_path)
    if task.stage < Stage.ACTIVATIONS:
        first = "weights_quantize_model" if task.stage < Stage.WEIGHTS else "activation_quantize_model"
        help = f"call `{first}`, run the calibration model, and then call `save_model`"
        raise error("AM632", "there is no calibration model yet, so no factors of data", help=help)
    told = Collector()
    record = read_record(task.plan.record, told)

    def reload() -> tuple[NetGraph, Context]:
        return begin(task.files, record)

    net, context = reload()
    plan = Plan.of(context.need_policy(), task.files.record, task.files.folder).for_saving
    place = plan.pipeline.place_of("apply-record") or 0
    plan.run((0, place), net, context, reload)
    _require_factors(net, record, plan, context.need_policy())
    plan.run((place, len(plan.pipeline.steps)), net, context, reload)
    log.tell("save_model", told.warnings)
    emission = emission_of(context.need_policy().policy, str(plan.pipeline))
    save_models(emit_files(find_targets("caffe"), net, prefix, emission), prefix, kind)


def save_models(files: Mapping[Path, bytes], prefix: str, kind: str) -> None:
    """Write those of the target's files that the original writes too."""
    wanted = (*_PREFIXES[kind], *_ALWAYS)
    beginning = "" if prefix.endswith("/") or Path(prefix).is_dir() else f"{Path(prefix).name}_"
    kept = {path: content for path, content in files.items() if path.name.removeprefix(beginning).startswith(wanted)}
    save(kept)
    for path in kept:
        if path.suffix in (".prototxt", ".caffemodel"):
            what = "model" if path.suffix == ".prototxt" else "weights"
            log.info("Utils", f"The {what} file is saved in {path}")


def _require_factors(net: NetGraph, record: ScaleRecord, plan: Plan, policy: ResolvedPolicy) -> None:
    """Raise AM633 in the original's words where factors of data are missing."""
    missing = [node.name for node in net.nodes if node.quant is not None and not _has_factors(node, record)]
    if not missing:
        return
    batches = policy.general.batch_num.value
    more = f"it lacks those of {len(missing)} layers" if len(missing) > 1 else "it has those of all other layers"
    help = (
        f"run the calibration model on {batches} {'batch' if batches == 1 else 'batches'} before `save_model`: "
        "`net = caffe.Net(modified_model_file, modified_weights_file, caffe.TEST)`, then `net.forward()` for each; "
        "with the last of them its IFMR layers write the factors into the record"
    )
    raise error(
        "AM633",
        f"Cannot find scale_d of layer '{missing[0]}' in record file",
        file=str(plan.record),
        notes=(more, "fewer batches than `batch_num` in the config leave no factors at all"),
        help=help,
    )


def _has_factors(node: Node, record: ScaleRecord) -> bool:
    entry = record.by_name.get(node.name)
    if entry is None or node.quant is None:
        return False
    wanted = node.quant.inputs if unseen_state(node) is not None else node.quant.operands
    found = (entry.input(given.index) for given in wanted)
    return all(given is not None and given.scale is not None for given in found)


@told_as_amct
def convert_model(model_file: str, weights_file: str, scale_offset_record_file: str, save_path: str) -> None:
    """Write both quantized models of a float model with the factors of the user's own record."""
    model = arguments.path("model_file", model_file)
    weights = arguments.path("weights_file", weights_file)
    record = arguments.path("scale_offset_record_file", scale_offset_record_file)
    prefix = arguments.prefix("save_path", save_path)
    collector = Collector()
    made = converted(model, weights, record=record, collector=collector, instruments=(LoggedPasses(log.logger),))
    log.tell("convert_model", collector.warnings)
    save_models(emit_files(find_targets("caffe"), made.graph, prefix, made.emission), prefix, "Both")
