"""Quantization-aware training in one call: a float net, its solver and a config in, the quantized models out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from amctc.diagnostics import Collector, error
from amctc.dialects.shapes import annotate_shapes
from amctc.driver.passes import RETRAIN, build_pipeline
from amctc.driver.quantize import refuse_quantized, require_weights
from amctc.driver.retrain_model import retrain_files
from amctc.driver.retrained_files import retrained_files
from amctc.driver.retraining_policy import resolved_training, training_policy
from amctc.driver.training import TrainingOptions, TrainResult, check_options, run_solver
from amctc.frontends.caffe import load_caffe
from amctc.frontends.caffe.attach_weights import attach_weights
from amctc.frontends.caffe.net import NetFile, parse_net_file
from amctc.frontends.caffe.weights import read_weights
from amctc.ir import Graph
from amctc.ir.node import Array
from amctc.output import check_writable, output_paths, write_files
from amctc.pipeline.context import Context
from amctc.plugins import load_plugins
from amctc.source import SourceFile

if TYPE_CHECKING:
    from amctc.training.solver_file import SolverFile

_GENERIC = ("net", "net_param")
"""The fields that name one net for both phases."""

_RECORD = "scale_offset_record.txt"
_MODEL, _WEIGHTS = "retrain_model.prototxt", "retrain_weights.caffemodel"

_Blobs = Mapping[str, tuple[Array, ...]]


def train_quantized(
    solver: str | Path,
    *,
    config: str | Path,
    output: str | Path | None = None,
    collector: Collector | None = None,
    **options: Unpack[TrainingOptions],
) -> TrainResult:
    """Train the float net of a solver file with quantization, and save the quantized models.

    `config` is a JSON config of training or a `.cfg`. The model that is trained is the one `create_quant_retrain_model`
    makes; it begins with the weights of `options`, or goes on from a snapshot of such a training. The results are those
    of `save_quant_retrain_model`, and the trained model itself (`retrain_model.prototxt`,
    `retrain_weights.caffemodel`), all under the prefix `output`, by default that of the snapshots. A training that
    somebody stops writes its snapshot and no results. Nothing but snapshots is written before the end.

    Warnings go to `collector`. Raises `DiagnosticError` as `train` does, and AM907 for a solver with a net for each
    phase, AM908 without weights, AM638 and others for the config, AM332 for a model that is quantized already.
    """
    check_options(options)
    from amctc.training.solver_file import read_solver_file
    from amctc.training.solver_nets import NetPlan

    told = collector if collector is not None else Collector()
    load_plugins(())
    file = read_solver_file(solver, told)
    _check_generic(file)
    prefix = output if output is not None else file.snapshot_prefix
    (record,) = output_paths(prefix, {_RECORD: b""})
    check_writable(record.parent)
    text = _model_to_train(file, _weights_to_begin(file, options), config, record, told)
    model = parse_net_file(SourceFile(f"{file.train.label} for training", text), Collector())

    def made(plan: NetPlan) -> NetPlan:
        return replace(plan, net=model)

    modified = replace(file, train=made(file.train), tests=tuple(made(plan) for plan in file.tests))
    run = run_solver(modified, options, write_record=False)
    if run.solver.stopped:
        return run.result
    weights = run.solver.weights_file()
    blobs = {node.name: tuple(node.weights.values()) for node in run.solver.net.graph.nodes if node.weights}
    found = retrained_files(lambda to: _loaded(model, blobs, to), prefix, told, model=str(file.path))
    if found.unshaped is not None:
        told.add(found.unshaped)
    files = {**found.files, **output_paths(prefix, {_MODEL: text.encode(), _WEIGHTS: weights})}
    write_files(files)
    return replace(run.result, files=(*run.result.files, *files))


def _check_generic(file: SolverFile) -> None:
    for plan in (file.train, *file.tests):
        if plan.label not in _GENERIC:
            message = f"`{plan.label}` names a net of one phase; training with quantization needs one net for both"
            help = "name by `net` one net whose layers have `include { phase: … }` where they are of one phase alone"
            raise error("AM907", message, file=str(file.path), help=help)


def _weights_to_begin(file: SolverFile, options: TrainingOptions) -> _Blobs:
    """The blobs of all files to begin with, or of a snapshot; of layers that several files have, those of the last."""
    from amctc.training.solver_state import learned_weights, read_state

    snapshot = options.get("snapshot")
    learned = learned_weights(read_state(snapshot), snapshot) if snapshot is not None else None
    begun = (*file.weights, *options.get("weights", ())) if snapshot is None else (learned,)
    paths = [path for path in begun if path is not None]
    if not paths:
        help = "give the caffemodel of the trained float net with `--weights`"
        raise error("AM908", "there are no weights to begin with", file=str(file.path), help=help)
    found: dict[str, tuple[Array, ...]] = {}
    for path in paths:
        found |= {name: blobs for name, blobs in read_weights(path).items() if blobs}
    return found


def _model_to_train(file: SolverFile, weights: _Blobs, config: str | Path, record: Path, told: Collector) -> str:
    """The prototxt of the model to be trained."""
    net = file.train.read(told)
    graph = _loaded(net, weights, told)
    refuse_quantized(graph, net.source.name)
    require_weights(graph)
    training = resolved_training(training_policy(config), graph, config, told)
    build_pipeline(RETRAIN).run(graph, Context(collector=told, training=training))
    return retrain_files(net, weights, graph, str(record.absolute())).prototxt


def _loaded(net: NetFile, weights: _Blobs, told: Collector) -> Graph:
    """A net for phase TEST, with these weights. That losses and scores are not in it goes without saying."""
    graph = load_caffe(net, None, Collector())
    attach_weights(graph, weights, annotate_shapes(graph), "the weights to begin with", told)
    told.raise_errors()
    return graph
