"""Files of trained models beyond the usual: layers without weights, narrow weights, and data layers for a converter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.compat import amct_caffe as amct
from amctc.compat import caffe
from amctc.compat.amct_caffe.log import log
from amctc.driver import ready_to_convert
from amctc.frontends import load_model
from amctc.records.read_record import read_record
from tests.compat.running import saved
from tests.nets import conv, data, layer, write_net

CONFIG, RECORD = "config.json", "record.txt"
MODIFIED = ("modified.prototxt", "modified.caffemodel")
CLIPS = {"algo": "ulq_quantize", "clip_max": 6.0, "clip_min": -6.0}
USUAL: Mapping[str, Any] = {"retrain_data_config": CLIPS}


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    log.close()
    yield tmp_path
    log.close()


def make(folder: Path, text: str, layers: Mapping[str, Any]) -> None:
    """A net with random weights, and the model to be trained that a config makes of it."""
    prototxt, weights = write_net(folder, text)
    Path(CONFIG).write_text(json.dumps({"version": 1, **layers}), encoding="utf-8")
    amct.create_quant_retrain_model(str(prototxt), str(weights), CONFIG, *MODIFIED, RECORD)


def save(kind: str = "Both") -> Mapping[str, bytes]:
    amct.save_quant_retrain_model(*MODIFIED, kind, "results/net", None, CONFIG)
    return saved(Path("results/net"))


def run(model: str, weights: str, **feeds: Any) -> Any:
    net = caffe.Net(model, weights, caffe.TEST)
    return net.forward(**feeds)[net.outputs[0]].copy()


def deployed(model: str = "deploy", **feeds: Any) -> Any:
    return run(f"results/net_{model}_model.prototxt", "results/net_deploy_weights.caffemodel", **feeds)


def noise(*shape: int) -> Any:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


SUM = (
    data("2 3 6 6")
    + conv("left", "data", 4)
    + conv("right", "data", 4)
    + layer("sum", "Eltwise", "left right", "sum")
    + layer("pool", "Pooling", "sum", "pool", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }")
)


class TestLayersWithoutWeights:
    def test_each_of_their_inputs_has_a_range_of_its_own(self, desk: Path) -> None:
        make(desk, SUM, {"left": USUAL, "sum": {"retrain_data_config": {"algo": "ulq_quantize"}}})
        graph = load_model(*MODIFIED)
        assert [value.producer.name for value in graph.node("sum").inputs] == ["sum.retrain_data", "sum.retrain_data_1"]
        assert "retrain_weight_quant_param" not in graph.node("sum").attrs
        assert graph.node("pool").inputs[0].producer.name == "sum"

    def test_they_are_saved_as_they_were_trained(self, desk: Path) -> None:
        make(desk, SUM, dict.fromkeys(("left", "right", "sum", "pool"), USUAL))
        batch = noise(2, 3, 6, 6)
        in_training = run(*MODIFIED, data=batch)
        record = read_record(RECORD).by_name
        assert [len(record[name].inputs) for name in ("left", "sum", "pool")] == [1, 2, 1]
        assert record["sum"].scale_w == () and len(record["left"].scale_w) == 4
        save()
        assert np.abs(deployed(data=batch) - in_training).max() <= 0.02 * np.abs(in_training).max()
        amct.save_quant_retrain_model(*MODIFIED, "Both", "again/net", RECORD, CONFIG)
        assert saved(Path("again/net")) == saved(Path("results/net"))


def test_weights_of_4_bits_stay_on_their_16_levels(desk: Path) -> None:
    narrow = {
        "retrain_data_config": {"algo": "ulq_quantize", "clip_max": 6.0, "clip_min": -6.0, "dst_type": "INT8"},
        "retrain_weight_config": {"algo": "arq_retrain", "channel_wise": True, "dst_type": "INT4"},
    }
    make(desk, data("2 3 6 6") + conv("conv", "data", 4), {"conv": narrow})
    batch = noise(2, 3, 6, 6)
    in_training = run(*MODIFIED, data=batch)
    assert read_record(RECORD).by_name["conv"].bits_w == 4
    save()
    weights = load_model("results/net_deploy_model.prototxt", "results/net_deploy_weights.caffemodel").node("conv")
    levels = weights.weights["weight"]
    assert levels.dtype == np.int8 and levels.min() >= -8 and levels.max() <= 7 and len(np.unique(levels)) > 8
    assert np.abs(deployed(data=batch) - in_training).max() <= 0.02 * np.abs(in_training).max()


SCORED = (
    conv("conv", "data", 4)
    + layer("ip", "InnerProduct", "conv", "ip", "inner_product_param { num_output: 3 }")
    + layer("accuracy", "Accuracy", "ip label", "accuracy", "include { phase: TEST }")
    + layer("loss", "SoftmaxWithLoss", "ip label", "loss")
)
MEMORY = "memory_data_param { batch_size: 2 channels: 3 height: 6 width: 6 }"


def source(type: str, parameter: str, tops: str = 'top: "data" top: "label"') -> str:
    return f'layer {{ name: "data" type: "{type}" {tops} {parameter} }}\n'


class TestReadyToConvert:
    def test_data_layers_are_inputs_and_losses_are_gone(self, desk: Path) -> None:
        make(desk, source("MemoryData", MEMORY) + SCORED, {"conv": USUAL, "ip": USUAL})
        made = save()
        text = made[ready_to_convert.ENDING].decode()
        graph = load_model("results/net_atc_model.prototxt", "results/net_deploy_weights.caffemodel")
        assert (graph.node("data").op, graph.node("data").output.shape) == ("caffe.Input", (2, 3, 6, 6))
        assert [value.blob for value in graph.node("data").outputs] == ["data"]
        assert not any(word in text for word in ("label", "accuracy", "loss", "memory_data_param"))
        assert "MemoryData" in made["deploy_model.prototxt"].decode()
        batch = noise(2, 3, 6, 6)
        found = deployed("atc", data=batch)
        assert found.shape == (2, 3) and np.abs(found).max() > 0

    def test_a_model_with_inputs_is_the_deploy_model(self, desk: Path) -> None:
        make(desk, SUM, {"left": USUAL})
        made = save()
        assert made[ready_to_convert.ENDING] == made["deploy_model.prototxt"]

    def test_it_goes_with_the_deploy_model_alone(self, desk: Path) -> None:
        make(desk, SUM, {"left": USUAL})
        assert ready_to_convert.ENDING not in save("Fakequant")

    def test_a_source_of_labels_alone_is_left_out(self, desk: Path) -> None:
        labels = 'layer { name: "label" type: "DummyData" top: "label" dummy_data_param { shape { dim: 2 } } }\n'
        make(desk, data("2 3 6 6") + labels + SCORED, {"conv": USUAL, "ip": USUAL})
        assert b"label" not in save()[ready_to_convert.ENDING]

    def test_data_of_unknown_shape_are_told_of(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = source("MemoryData", MEMORY) + conv("conv", "data", 4)
        make(desk, text, {"conv": USUAL})
        database = 'data_param { source: "nowhere" batch_size: 2 }'
        text = Path(MODIFIED[0]).read_text(encoding="utf-8").replace('"MemoryData"', '"Data"')
        begin, _, rest = text.partition("memory_data_param {")
        Path(MODIFIED[0]).write_text(f"{begin}{database}{rest.partition('}')[2]}", encoding="utf-8")
        made = save()
        assert "[AM641]" in capsys.readouterr().err and ready_to_convert.ENDING not in made
        assert "deploy_model.prototxt" in made
