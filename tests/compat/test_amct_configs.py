"""The configs that `amct_caffe` writes and reads, those of calibration and those of training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amctc.compat import amct_caffe as amct
from amctc.frontends import load_model
from amctc.policy import Policy
from tests.compat.amct_steps import CONFIG, MODEL, MODIFIED, RECORD, WEIGHTS, at_desk, code, logged, older


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one, and a log of its own."""
    with at_desk(tmp_path, monkeypatch):
        yield tmp_path


class TestConfig:
    def test_a_cfg_file_wins_over_the_arguments(self, desk: Path) -> None:
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS, 7, False, config_defination="policy.cfg")
        config = json.loads((desk / CONFIG).read_text(encoding="utf-8"))
        assert config["batch_num"] == 2 and config["activation_offset"] is True
        assert "skip_layers, batch_num and activation_offset have no effect" in logged(desk)

    @pytest.mark.parametrize(
        ("call", "batch_num", "offset"),
        [
            (lambda: amct.create_quant_config(CONFIG, MODEL, WEIGHTS, 3, False, None, ["conv1"]), 3, False),
            (lambda: amct.create_quant_config(CONFIG, MODEL, WEIGHTS, skip_layers=["conv1"], batch_num=3), 3, True),
            (lambda: older(CONFIG, MODEL, WEIGHTS, ["conv1"], 3), 3, True),
            (lambda: older(CONFIG, MODEL, WEIGHTS, ["conv1"], 3, False), 3, False),
            (lambda: older(CONFIG, MODEL, WEIGHTS, ["conv1"], batch_num=4), 4, True),
            (lambda: older(CONFIG, MODEL, WEIGHTS, ["conv1"]), 1, True),
            (lambda: older(CONFIG, MODEL, WEIGHTS, ["conv1"], 2, True, None), 2, True),
        ],
    )
    def test_both_orders_of_arguments_are_understood(
        self, desk: Path, call: Callable[[], None], batch_num: int, offset: bool
    ) -> None:
        call()
        config = json.loads((desk / CONFIG).read_text(encoding="utf-8"))
        assert (config["batch_num"], config["activation_offset"]) == (batch_num, offset)
        assert [config[name]["quant_enable"] for name in ("conv1", "conv2/dw", "conv3")] == [False, True, True]

    def test_a_layer_that_there_is_not_cannot_be_skipped(self, desk: Path) -> None:
        with pytest.raises(ValueError, match="conv9"):
            amct.create_quant_config(CONFIG, MODEL, WEIGHTS, skip_layers=["conv9"])
        assert not (desk / CONFIG).exists()

    def test_a_config_without_layers_is_a_value_error_when_written_and_a_runtime_error_when_read(
        self, desk: Path
    ) -> None:
        kinds = ["InnerProduct", "Convolution", "Pooling", "Eltwise", "Softmax"]
        (desk / "none.cfg").write_text("".join(f"skip_layer_types: '{kind}'\n" for kind in kinds), encoding="utf-8")
        with pytest.raises(ValueError):
            amct.create_quant_config(CONFIG, MODEL, WEIGHTS, config_defination="none.cfg")
        (desk / "none.json").write_text('{"version": 1}', encoding="utf-8")
        with pytest.raises(RuntimeError):
            amct.init("none.json", MODEL, WEIGHTS, RECORD)

    def test_the_config_of_another_model_is_a_value_error(self, desk: Path) -> None:
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS)
        text = (desk / CONFIG).read_text(encoding="utf-8").replace('"conv3"', '"conv3_of_another_net"')
        (desk / CONFIG).write_text(text, encoding="utf-8")
        (desk / RECORD).write_text("# kept", encoding="utf-8")
        with pytest.raises(ValueError, match="conv3_of_another_net") as refusal:
            amct.init(CONFIG, MODEL, WEIGHTS, RECORD)
        assert "config.json:" in str(refusal.value)
        assert (desk / RECORD).read_text(encoding="utf-8") == "# kept"

    def test_a_config_of_what_is_not_built_is_refused_as_such(self, desk: Path) -> None:
        (desk / "joint.cfg").write_text("joint_quant: true", encoding="utf-8")
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS, config_defination="joint.cfg")
        with pytest.raises(NotImplementedError) as refusal:
            amct.init(CONFIG, MODEL, WEIGHTS, RECORD)
        assert code(refusal) == "AM290"


class TestTraining:
    def test_the_config_has_every_layer_with_weights(self, desk: Path) -> None:
        amct.create_quant_retrain_config(config_file=CONFIG, model_file=MODEL, weights_file=WEIGHTS)
        config = json.loads((desk / CONFIG).read_text(encoding="utf-8"))
        assert list(config) == ["version", "conv1", "conv2/dw", "conv2/pw", "conv3", "fc"]
        assert config["conv1"] == {
            "retrain_enable": True,
            "retrain_data_config": {"algo": "ulq_quantize", "num_bits": 8},
            "retrain_weight_config": {"algo": "arq_retrain", "channel_wise": True, "num_bits": 8},
        }
        assert config["fc"]["retrain_weight_config"]["channel_wise"] is False
        assert Policy.from_file(CONFIG).training is not None

    def test_the_config_follows_a_cfg_file(self, desk: Path) -> None:
        (desk / "train.cfg").write_text(
            "retrain_data_quant_config { ulq_quantize { num_bits: 12 } }\n"
            "skip_layers: 'conv1'\n"
            "override_layer_types { layer_type: 'InnerProduct' "
            "retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 3.0 clip_min: -1.5 } } } }\n",
            encoding="utf-8",
        )
        amct.create_quant_retrain_config(CONFIG, MODEL, WEIGHTS, "train.cfg")
        config = json.loads((desk / CONFIG).read_text(encoding="utf-8"))
        assert [name for name in config if name != "version" and not config[name]["retrain_enable"]] == ["conv1"]
        assert config["conv3"]["retrain_data_config"]["num_bits"] == 12
        data = config["fc"]["retrain_data_config"]
        assert data == {"algo": "ulq_quantize", "clip_max": 3.0, "clip_min": -1.5, "num_bits": 8}

    def test_a_layer_that_computes_nothing_cannot_be_trained(self, desk: Path) -> None:
        (desk / "train.cfg").write_text("skip_layers: 'data'\n", encoding="utf-8")
        with pytest.raises(ValueError, match="no layer `data` that can be trained"):
            amct.create_quant_retrain_config(CONFIG, MODEL, WEIGHTS, "train.cfg")
        assert not (desk / CONFIG).exists()

    def test_a_cfg_file_that_leaves_no_layer_is_a_mistake(self, desk: Path) -> None:
        (desk / "train.cfg").write_text(
            "skip_layer_types: 'Convolution' skip_layer_types: 'InnerProduct'", encoding="utf-8"
        )
        with pytest.raises(RuntimeError, match="leaves no layer") as refusal:
            amct.create_quant_retrain_config(CONFIG, MODEL, WEIGHTS, "train.cfg")
        assert code(refusal) == "AM638" and not (desk / CONFIG).exists()

    def test_a_config_of_the_other_manual_says_types_in_place_of_bits(self, desk: Path) -> None:
        (desk / "train.cfg").write_text(
            "batch_num: 2 retrain_data_quant_config { ulq_quantize { dst_type: INT16 } }", encoding="utf-8"
        )
        amct.create_quant_retrain_config(CONFIG, MODEL, WEIGHTS, "train.cfg")
        config = json.loads((desk / CONFIG).read_text(encoding="utf-8"))
        assert config["batch_num"] == 2
        assert config["conv1"]["retrain_data_config"] == {"algo": "ulq_quantize", "dst_type": "INT16"}
        amct.create_quant_retrain_model(MODEL, WEIGHTS, CONFIG, *MODIFIED, RECORD)
        node = load_model(*MODIFIED).node("conv1.retrain_data")
        assert (node.attrs["bits"], node.attrs["batch_num"], node.attrs["ifmr_init"]) == (16, 2, True)

    def test_mistakes_are_told_before_anything_is_written(self, desk: Path) -> None:
        with pytest.raises(FileNotFoundError):
            amct.create_quant_retrain_model(MODEL, WEIGHTS, "nowhere.json", *MODIFIED, RECORD)
        with pytest.raises(ValueError, match="save_type"):
            amct.save_quant_retrain_model(MODEL, WEIGHTS, "All", "results/model")
        (desk / "other.json").write_text('{"version": 1, "conv9": {"retrain_enable": true}}', encoding="utf-8")
        with pytest.raises(ValueError, match="conv9"):
            amct.create_quant_retrain_model(MODEL, WEIGHTS, "other.json", *MODIFIED, RECORD)
