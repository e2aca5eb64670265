"""What each layer gets from a policy of quantization-aware training, and what such a policy must not say."""

from __future__ import annotations

import json

import pytest

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.retrain import TrainedWeights
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.policy.resolve_training import ResolvedTraining, TrainedData, resolve_training, trainable_layers
from amctc.policy.write_training_json import training_json
from amctc.source import SourceFile
from tests.policy.texts import small_graph
from tests.shared_files import GOLDEN, needs_golden

DATA = "retrain_data_quant_config {{ ulq_quantize {{ {} }} }} "
WEIGHTS = "retrain_weight_quant_config {{ arq_retrain {{ {} }} }} "
WEIGHTED = ["conv1", "conv2", "fc"]


def read(text: str, flavour: str = "caffe-qat", name: str = "train.cfg") -> Policy:
    return Policy.from_text(SourceFile(name, text), flavour)


def resolved(text: str, flavour: str = "caffe-qat", graph: Graph | None = None) -> ResolvedTraining:
    collector = Collector()
    found = resolve_training(read(text, flavour), graph or small_graph(), collector)
    collector.raise_errors()
    return found


def entry(text: str, flavour: str = "caffe-qat") -> ResolvedTraining:
    collector = Collector()
    found = resolve_training(read(text, flavour, "config.json"), small_graph(), collector)
    collector.raise_errors()
    return found


def complaints(text: str, flavour: str = "caffe-qat", name: str = "train.cfg") -> tuple[Diagnostic, ...]:
    collector = Collector()
    resolve_training(read(text, flavour, name), small_graph(), collector)
    return tuple(collector.diagnostics)


def by_type(type: str, config: str) -> str:
    return f"override_layer_types {{ layer_type: '{type}' {config} }}\n"


def by_name(layer: str, config: str) -> str:
    return f"override_layer_configs {{ layer_name: '{layer}' {config} }}\n"


class TestPrecedence:
    def test_layers_with_weights_are_trained_by_default(self) -> None:
        found = resolved("")
        assert list(found.layers) == WEIGHTED and found.batch_num == 1
        assert found.layers["conv1"].data == TrainedData(None, None, None, 8)
        assert [found.layers[name].weights for name in ("conv1", "fc")] == [
            TrainedWeights(True, 8),
            TrainedWeights(False, 8),
        ]

    def test_a_name_wins_over_a_type_and_this_over_the_general_part_each_as_a_whole(self) -> None:
        text = (
            DATA.format("num_bits: 12")
            + WEIGHTS.format("channel_wise: false")
            + by_type("Convolution", DATA.format("num_bits: 10"))
            + by_name("conv2", DATA.format("fixed_min: true"))
        )
        found = resolved(text).layers
        assert [found[name].data.bits for name in WEIGHTED] == [10, 8, 12]
        assert found["conv2"].data.fixed_min is True
        # What the override does not say has its default, not what the general part says.
        assert [found[name].weights for name in ("conv1", "conv2")] == [TrainedWeights(True, 8)] * 2

    @pytest.mark.parametrize("skip", ["skip_layers: 'conv1'", "skip_layer_types: 'Convolution'"])
    def test_a_skip_list_wins_over_an_override(self, skip: str) -> None:
        found = resolved(f"{skip}\n" + by_name("conv1", DATA.format("num_bits: 12")))
        assert "conv1" not in found.layers and found.off["conv1"].data.bits == 12

    def test_lists_of_the_other_flavour_skip_too(self) -> None:
        text = "batch_num: 3 skip_layers: 'fc' quant_skip_layers: 'conv1' quant_skip_types: 'Pooling'"
        found = resolved(text, "pytorch-qat")
        assert list(found.layers) == ["conv2"] and found.batch_num == 3

    def test_layers_without_weights_are_trained_where_it_is_asked_for(self) -> None:
        found = resolved(DATA.format("num_bits: 12") + by_type("Eltwise", DATA.format("")) + by_name("pool1", ""))
        assert list(found.layers) == ["conv1", "conv2", "sum", "pool1", "fc"]
        assert found.layers["sum"].weights is None and found.layers["pool1"].data.bits == 8

    def test_of_a_layer_config_the_entries_alone_are_trained(self) -> None:
        off = '"conv2":{"retrain_enable":false}'
        found = entry('{"version":1,"batch_num":4,"conv1":{},' + off + ',"sum":{"retrain_enable":true}}')
        assert list(found.layers) == ["conv1", "sum"] and found.batch_num == 4
        assert {"conv2", "fc", "pool1"} <= found.off.keys()


class TestTypesInPlaceOfBits:
    @pytest.mark.parametrize(("type", "bits"), [("INT8", 8), ("INT16", 16)])
    def test_the_width_of_data(self, type: str, bits: int) -> None:
        text = '{"conv1":{"retrain_data_config":{"dst_type":"' + type + '"}}}'
        assert entry(text, "pytorch-qat").layers["conv1"].data.bits == bits

    def test_the_width_of_weights(self) -> None:
        text = '{"conv1":{"retrain_weight_config":{"algo":"arq_retrain","dst_type":"INT4","channel_wise":false}}}'
        assert entry(text, "pytorch-qat").layers["conv1"].weights == TrainedWeights(False, 4)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (DATA.format("dst_type: INT4") + WEIGHTS.format("dst_type: INT4"), "data of type INT4 are"),
            ("retrain_weight_quant_config { ulq_retrain { } }", "`ulq_retrain` of a Caffe network is"),
            ("prune_config { filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 0.5 } } }", "pruning is"),
            ("fakequant_precision_mode: FORCE_FP16_QUANT", "`fakequant_precision_mode` is"),
        ],
    )
    def test_what_is_not_built_is_refused(self, text: str, words: str) -> None:
        (found,) = complaints(text, "pytorch-qat")
        assert found.code == "AM290" and found.message.startswith(words)


class TestMistakes:
    @pytest.mark.parametrize(
        ("text", "code", "words"),
        [
            ("skip_layers: 'conv9'", "AM635", "conv9"),
            (by_name("drop", DATA.format("")), "AM635", "drop"),
            ("skip_layer_types: 'Conv9d'", "AM222", "Conv9d"),
            (by_type("Dropout", DATA.format("")), "AM222", "Dropout"),
            (by_name("fc", WEIGHTS.format("channel_wise: true")), "AM227", "`fc` (InnerProduct) has one scale"),
            (by_name("sum", WEIGHTS.format("channel_wise: true")), "AM227", "`sum` (Eltwise) has no weights"),
        ],
    )
    def test_names_and_scales_that_there_are_not(self, text: str, code: str, words: str) -> None:
        (found,) = complaints(text)
        assert (found.code, found.span is not None) == (code, True) and words in found.message

    def test_a_scale_for_each_channel_in_a_layer_config(self) -> None:
        text = '{"fc":{"retrain_weight_config":{"channel_wise":true}}}'
        (found,) = complaints(text, name="config.json")
        assert found.code == "AM227"

    def test_a_scale_for_each_channel_in_general_is_one_for_all_where_there_is_no_other(self) -> None:
        assert resolved(WEIGHTS.format("channel_wise: true")).layers["fc"].weights == TrainedWeights(False, 8)

    def test_a_type_that_no_layer_has_may_be_named(self) -> None:
        assert list(resolved("skip_layer_types: 'Deconvolution'").layers) == WEIGHTED


class TestWriting:
    @pytest.mark.parametrize("flavour", ["caffe-qat", "pytorch-qat"])
    def test_what_is_written_gives_the_same_again(self, flavour: str) -> None:
        width = "num_bits: 12" if flavour == "caffe-qat" else "dst_type: INT16"
        clips = "clip_max_min { clip_max: 3 clip_min: -1.5 }"
        text = (
            "batch_num: 3 skip_layers: 'conv2' "
            + DATA.format(f"{width} {clips} fixed_min: false")
            + WEIGHTS.format("channel_wise: false")
            + by_type("Eltwise", DATA.format(""))
        )
        policy, graph, collector = read(text, flavour), small_graph(), Collector()
        wanted = resolve_training(policy, graph, collector)
        written = training_json(policy, wanted, trainable_layers(graph))
        again = resolve_training(read(written, flavour, "config.json"), graph, collector)
        assert (again.layers, again.batch_num) == (wanted.layers, 3) and not collector.has_errors
        assert list(json.loads(written)) == ["version", "batch_num", "conv1", "conv2", "sum", "fc"]

    @needs_golden
    @pytest.mark.parametrize("case", ["qat_arq_pertensor", "qat_a8w4", "qat_int16"])
    def test_it_is_what_amct_writes(self, case: str) -> None:
        folder = GOLDEN / "amct_pytorch"
        graph, collector = load_model(folder / "models" / "digits_cnn.onnx"), Collector()
        names = {node.name.split("/")[1]: node.name for node in graph.nodes if node.name.count("/") == 2}
        wanted = json.loads((folder / "qat" / case / "config.json").read_text(encoding="utf-8"))
        text = (folder / "qat" / case / "quant.cfg").read_text(encoding="utf-8")
        policy = read(text.replace('"fc2"', f'"{names["fc2"]}"'), "pytorch-qat")
        resolved = resolve_training(policy, graph, collector)
        written = json.loads(training_json(policy, resolved, trainable_layers(graph)))
        assert not collector.diagnostics
        if case == "qat_a8w4":  # there an override of the type switches on what a list skips; here the list wins
            wanted["fc2"]["retrain_enable"] = False
        layers = [name for name in wanted if name not in ("version", "batch_num")]
        assert {name: wanted[name] for name in layers} == {name: written[names[name]] for name in layers}

    def test_batch_num_is_written_where_it_is_said(self) -> None:
        policy, graph = read(""), small_graph()
        text = training_json(policy, resolve_training(policy, graph, Collector()), trainable_layers(graph))
        assert list(json.loads(text)) == ["version", *WEIGHTED]
