"""The order in which the functions of `amct_caffe` go, and the arguments they refuse and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from amctc.compat import amct_caffe as amct
from tests.compat.amct_steps import (
    CONFIG,
    MODEL,
    MODIFIED,
    RECORD,
    WEIGHTS,
    any_value,
    at_desk,
    calibrate,
    code,
    older,
    ready,
    started,
)
from tests.compat.running import SAVED, saved
from tests.e2e.command import contents


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one, and a log of its own."""
    with at_desk(tmp_path, monkeypatch):
        yield tmp_path


class TestOrder:
    def test_activations_come_after_weights(self, desk: Path) -> None:
        graph = started()
        with pytest.raises(RuntimeError, match="call `weights_quantize_model` before") as refusal:
            amct.activation_quantize_model(graph, *MODIFIED)
        assert code(refusal) == "AM632"
        assert not (desk / MODIFIED[0]).exists()

    def test_nothing_is_saved_before_there_is_a_calibration_model(self, desk: Path) -> None:
        graph = started()
        with pytest.raises(RuntimeError, match="call `weights_quantize_model`"):
            amct.save_model(graph, "Both", "results/model")
        amct.weights_quantize_model(graph, *MODIFIED)
        with pytest.raises(RuntimeError, match="call `activation_quantize_model`"):
            amct.save_model(graph, "Both", "results/model")
        assert not (desk / "results").exists()

    def test_nothing_is_saved_before_the_calibration_model_has_run(self, desk: Path) -> None:
        graph = started()
        amct.quantize_model(graph, *MODIFIED)
        with pytest.raises(RuntimeError, match=r"^Cannot find scale_d of layer 'conv1' in record file") as refusal:
            amct.save_model(graph, "Both", "results/model")
        assert code(refusal) == "AM633"
        assert "run the calibration model on 2 batches before `save_model`" in str(refusal.value)
        assert not (desk / "results").exists()
        calibrate()
        amct.save_model(graph, "Both", "results/model")

    def test_steps_may_be_done_again(self, desk: Path) -> None:
        graph = ready()
        before = contents(desk / "tmp")
        amct.weights_quantize_model(graph, *MODIFIED)
        amct.activation_quantize_model(graph, *MODIFIED)
        assert contents(desk / "tmp") == before
        amct.save_model(graph, "Both", "results/model")

    def test_another_process_goes_on_with_resume(self, desk: Path) -> None:
        amct.save_model(ready(), "Both", "results/one")
        record = (desk / RECORD).read_bytes()
        amct.save_model(amct.resume(CONFIG, MODEL, WEIGHTS, RECORD), "Both", "results/two")
        assert saved(desk / "results/one") == saved(desk / "results/two")
        assert (desk / RECORD).read_bytes() == record

    def test_resuming_from_an_empty_record_begins_with_the_weights(self, desk: Path) -> None:
        started()
        graph = amct.resume(CONFIG, MODEL, WEIGHTS, RECORD)
        with pytest.raises(RuntimeError, match="call `weights_quantize_model`"):
            amct.save_model(graph, "Both", "results/model")
        amct.quantize_model(graph, *MODIFIED)
        calibrate()
        amct.save_model(graph, "Both", "results/model")

    def test_the_folder_may_change_on_the_way(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        graph = ready()
        (desk / "elsewhere").mkdir()
        monkeypatch.chdir(desk / "elsewhere")
        amct.save_model(graph, "Both", "model")
        assert sorted(saved(desk / "elsewhere/model")) == sorted(SAVED)

    def test_factors_that_fit_no_layer_are_refused(self, desk: Path) -> None:
        graph = ready()
        text = (desk / RECORD).read_text(encoding="utf-8").replace('key: "conv1"', 'key: "conv_one"')
        (desk / RECORD).write_text(text, encoding="utf-8")
        with pytest.raises(RuntimeError, match="Cannot find scale_d of layer 'conv1'"):
            amct.save_model(graph, "Both", "results/model")


class TestArguments:
    @pytest.mark.parametrize(
        "call",
        [
            lambda: older(CONFIG, MODEL, 5),
            lambda: older(CONFIG, None, WEIGHTS),
            lambda: older(CONFIG, MODEL, WEIGHTS, "2"),
            lambda: older(CONFIG, MODEL, WEIGHTS, 2.0),
            lambda: older(CONFIG, MODEL, WEIGHTS, 2, 1),
            lambda: older(CONFIG, MODEL, WEIGHTS, skip_layers="conv1"),
            lambda: older(CONFIG, MODEL, WEIGHTS, [1]),
            lambda: older(CONFIG, MODEL, WEIGHTS, config_defination=3),
            lambda: amct.save_model(any_value("graph"), "Both", "results/model"),
            lambda: amct.save_model(any_value(None), "Both", "results/model"),
            lambda: amct.init(any_value({}), MODEL, WEIGHTS, RECORD),
            lambda: amct.save_model(started(), any_value(1), "results/model"),
            lambda: amct.uninplace_model(MODEL, any_value(b"x")),
        ],
    )
    def test_a_wrong_type_is_a_type_error(self, desk: Path, call: Callable[[], None]) -> None:
        with pytest.raises(TypeError) as refusal:
            call()
        assert code(refusal) == "AM630"

    @pytest.mark.parametrize(
        "call",
        [
            lambda: amct.create_quant_config(CONFIG, MODEL, WEIGHTS, 0),
            lambda: amct.create_quant_config(CONFIG, MODEL, WEIGHTS, -1),
            lambda: amct.create_quant_config("", MODEL, WEIGHTS),
            lambda: amct.create_quant_config("tmp/", MODEL, WEIGHTS),
            lambda: amct.save_model(started(), "both", "results/model"),
            lambda: amct.save_model(started(), "", "results/model"),
        ],
    )
    def test_a_wrong_value_is_a_value_error(self, desk: Path, call: Callable[[], None]) -> None:
        with pytest.raises(ValueError) as refusal:
            call()
        assert code(refusal) == "AM631"

    def test_a_misspelt_kind_names_the_nearest_one(self) -> None:
        with pytest.raises(ValueError, match="did you mean `Fakequant`"):
            amct.save_model(started(), "FakeQuant", "results/model")

    @pytest.mark.parametrize("missing", [0, 1, 2])
    def test_a_missing_file_is_named(self, desk: Path, missing: int) -> None:
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS)
        files = [CONFIG, MODEL, WEIGHTS]
        files[missing] = f"nowhere/{Path(files[missing]).name}"
        (desk / RECORD).write_text("# kept", encoding="utf-8")
        with pytest.raises(FileNotFoundError, match=f"nowhere/{Path(files[missing]).name}") as refusal:
            any_value(amct.init)(*files, RECORD)
        assert isinstance(refusal.value, RuntimeError), "what the original raises"
        assert (desk / RECORD).read_text(encoding="utf-8") == "# kept"

    def test_resuming_needs_a_record(self) -> None:
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS)
        with pytest.raises(FileNotFoundError):
            amct.resume(CONFIG, MODEL, WEIGHTS, RECORD)

    def test_a_quantized_model_is_a_runtime_error(self, desk: Path) -> None:
        amct.save_model(ready(), "Deploy", "results/model")
        quantized = "results/model_deploy_model.prototxt", "results/model_deploy_weights.caffemodel"
        calls = (
            lambda: amct.create_quant_config(CONFIG, *quantized),
            lambda: amct.init(CONFIG, *quantized, RECORD),
            lambda: amct.convert_model(*quantized, RECORD, "results/twice"),
        )
        for call in calls:
            with pytest.raises(RuntimeError) as refusal:
                call()
            assert code(refusal) == "AM332"

    def test_learned_rounding_has_no_data_to_learn_from(self, desk: Path) -> None:
        config = (
            '{"version": 1, "batch_num": 2, "conv1": {"quant_enable": true, '
            '"weight_quant_params": {"wts_algo": "ada_quantize", "num_iteration": 10}}}'
        )
        (desk / "learned.json").write_text(config, encoding="utf-8")
        with pytest.raises((RuntimeError, ValueError), match="learns from the calibration data") as refusal:
            amct.init("learned.json", MODEL, WEIGHTS, RECORD)
        assert code(refusal) == "AM491"

    def test_what_cannot_be_written_is_an_os_error_and_changes_nothing(self, desk: Path) -> None:
        (desk / "occupied").write_text("a file", encoding="utf-8")
        graph = ready()
        before = contents(desk)
        with pytest.raises(OSError, match="cannot write"):
            amct.save_model(graph, "Both", "occupied/model")
        after = contents(desk)
        assert {name: text for name, text in after.items() if "amct_log" not in name} == {
            name: text for name, text in before.items() if "amct_log" not in name
        }

    def test_an_exception_prints_under_its_built_in_name(self) -> None:
        with pytest.raises(TypeError) as refusal:
            amct.init(any_value(1), MODEL, WEIGHTS, RECORD)
        kind = refusal.type
        assert (kind.__module__, kind.__qualname__) == ("builtins", "TypeError")
        assert str(refusal.value).startswith("`config_file` is of type `int`, but must be a path as a string [AM630]\n")
