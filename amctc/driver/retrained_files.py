"""The quantized files of a model that was trained with quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, error
from amctc.dialects.retrain import WEIGHT_PARAMETER
from amctc.driver.conversion import converted_graph
from amctc.driver.emit import emit_files, find_targets
from amctc.driver.ready_to_convert import ENDING, ready_to_convert
from amctc.driver.retrain import differing, lacks, plain_model, trained_factors, trained_layers, with_missing
from amctc.driver.retraining_policy import training_policy
from amctc.ir import Graph, Node
from amctc.output import output_paths
from amctc.pipeline.instrument import Instrument
from amctc.policy.resolve_training import resolve_training
from amctc.records.read_record import read_record
from amctc.records.scale_record import LayerRecord, ScaleRecord

_MOST_NAMED = 3


@dataclass(frozen=True)
class RetrainedFiles:
    """The content of the files by their paths. `unshaped` says why the one for converters is not among them."""

    files: Mapping[Path, bytes]
    unshaped: Diagnostic | None


def retrained_files(
    load: Callable[[Collector], Graph],
    prefix: str | Path,
    collector: Collector,
    *,
    model: str,
    record: str | Path | None = None,
    config: str | Path | None = None,
    instruments: Sequence[Instrument] = (),
) -> RetrainedFiles:
    """Quantize a trained model with what it has learned; nothing is written.

    `load` gives the model as it is for phase TEST, with its layers that quantize, its weights and its clips, each time
    the same; `model` is what it is called in messages. The factors are those of the clips and weights; those of a
    `record` win over them. A `config` is only checked against the model. With the deploy model comes one that a
    converter takes as it is, for the same weights. Warnings go to `collector`. Raises `DiagnosticError`: AM637 for
    clips that were never set, AM639 for a model that training does not quantize, and what reading the files raises.
    """
    graph = load(collector)
    if not trained_layers(graph):
        help = "give the model that `create_quant_retrain_model` wrote, after its training"
        raise error("AM639", "this model has no layers that training quantizes", file=model, help=help)
    if config is not None:
        resolve_training(training_policy(config), plain_model(graph), collector)
        collector.raise_errors()
    factors = _factors(graph, record, model, collector)
    of_passes = Collector()
    made = converted_graph(lambda told: plain_model(load(told)), factors, of_passes, instruments=instruments)
    collector.extend(warning for warning in of_passes.warnings if warning not in collector.warnings)
    files = emit_files(find_targets("caffe"), made.graph, prefix, made.emission)
    text, unknown = ready_to_convert(made.graph)
    if unknown:
        return RetrainedFiles(files, _no_shape(unknown, model))
    return RetrainedFiles(files | output_paths(prefix, {ENDING: text.encode()}), None)


def _factors(graph: Graph, record: str | Path | None, model: str, collector: Collector) -> ScaleRecord:
    """The record that the model is quantized with."""
    found = trained_factors(graph)
    given = read_record(record, collector) if record is not None else ScaleRecord(())
    said = dict(given.by_name)
    lacking = [name for name in found.unset if name not in said or _is_incomplete(said[name], graph.node(name))]
    if lacking:
        raise _never_set(lacking, model)
    others = list(differing(found, said))
    if others:
        names = ", ".join(f"`{name}`" for name in others[:_MOST_NAMED]) + ("…" if len(others) > _MOST_NAMED else "")
        text = f"the record has other factors than the clips and weights of the model for {names}; those of the record"
        help = "run the model once more in phase TEST, or leave the record out"
        collector.add(Diagnostic("AM640", f"{text} are taken", Level.WARNING, file=str(record), help=help))
    joined = said | {entry.name: with_missing(said.get(entry.name), entry) for entry in found.entries}
    return ScaleRecord(tuple(joined.values()), given.source)


def _no_shape(names: Sequence[str], model: str) -> Diagnostic:
    message = f"`{ENDING}` is not written: the shape of what `{names[0]}` reads is not known"
    help = "give the layer a `crop_size` and channels, or replace it in the deploy model by an Input layer"
    return Diagnostic("AM641", message, Level.WARNING, file=model, help=help)


def _is_incomplete(entry: LayerRecord, node: Node) -> bool:
    return lacks(entry, node) or (WEIGHT_PARAMETER in node.attrs and not entry.scale_w)


def _never_set(names: Sequence[str], model: str) -> DiagnosticError:
    more = f", nor are those of {len(names) - 1} other layers" if len(names) > 1 else ""
    help = (
        "train the model, or write the clips: `net.params[quantizer][0].data[...] = clip_max`, `[1]` is clip_min; "
        "then `net.save(weights)`, and give that file here"
    )
    notes = ("a range of data is set by training, by `clip_max` and `clip_min` of the config, or by hand",)
    message = f"the clips of layer `{names[0]}` are not set{more}"
    return error("AM637", message, file=model, notes=notes, help=help)
