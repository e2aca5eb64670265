"""The functions of `amct_caffe` one by one: what they write, in which order they go, what they refuse and how."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.compat import amct_caffe as amct
from amctc.compat import caffe
from amctc.compat.amct_caffe import log
from amctc.diagnostics import DiagnosticError, Level
from amctc.driver import compile, convert
from amctc.frontends import load_model
from amctc.policy import Policy
from amctc.runtime.executor import read_inputs
from tests.compat.running import SAVED, digits, saved
from tests.e2e.command import contents
from tests.shared_files import ASSETS, needs_assets

CONFIG, RECORD = "tmp/config.json", "tmp/record.txt"
MODEL, WEIGHTS = "digits.prototxt", "digits.caffemodel"
MODIFIED = ("tmp/modified.prototxt", "tmp/modified.caffemodel")


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one, and a log of its own."""
    digits(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (log.SCREEN_VARIABLE, log.FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    log.close_log()
    yield tmp_path
    log.close_log()
    amct.set_cpu_mode()
    log.close_log()


def started(batch_num: int = 2) -> Any:
    amct.create_quant_config(CONFIG, MODEL, WEIGHTS, batch_num)
    return amct.init(CONFIG, MODEL, WEIGHTS, RECORD)


def calibrate(batches: int = 2) -> None:
    net = caffe.Net(*MODIFIED, caffe.TEST)
    with np.load("calibration.npz") as file:
        samples = file["data"]
    for number in range(batches):
        net.forward(data=samples[8 * number : 8 * number + 8])


def ready() -> Any:
    """A graph whose calibration model has run."""
    graph = started()
    amct.weights_quantize_model(graph, *MODIFIED)
    amct.activation_quantize_model(graph, *MODIFIED)
    calibrate()
    return graph


def code(refusal: pytest.ExceptionInfo[Any]) -> str:
    assert isinstance(refusal.value, DiagnosticError)
    return next(found.code for found in refusal.value.diagnostics if found.level is Level.ERROR)


SIGNATURES = {
    "set_gpu_mode": "",
    "set_cpu_mode": "",
    "uninplace_model": "model_file, uninplaced_model_file",
    "create_quant_config": "config_file, model_file, weights_file, batch_num=1, activation_offset=True, "
    "config_defination=None",
    "init": "config_file, model_file, weights_file, scale_offset_record_file",
    "weights_quantize_model": "graph, modified_model_file, modified_weights_file",
    "activation_quantize_model": "graph, modified_model_file, modified_weights_file",
    "save_model": "graph, save_type, save_path",
    "convert_model": "model_file, weights_file, scale_offset_record_file, save_path",
    "create_quant_retrain_config": "config_file, model_file, weights_file",
    "create_quant_retrain_model": "model_file, weights_file, config_file, modified_model_file, "
    "modified_weights_file, scale_offset_record_file",
    "save_quant_retrain_model": "retrained_model_file, retrained_weights_file, save_type, save_path, "
    "scale_offset_record_file=None, config_file=None",
}
"""As the manual prints them; ours may have more arguments behind these."""


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_function_takes_the_manual_s_arguments(name: str) -> None:
    parameters = inspect.signature(getattr(amct, name)).parameters.values()
    told = [
        each.name if each.default is inspect.Parameter.empty else f"{each.name}={each.default}" for each in parameters
    ]
    wanted = SIGNATURES[name].split(", ") if SIGNATURES[name] else []
    assert told[: len(wanted)] == wanted
    assert all("=" in more for more in told[len(wanted) :])


def test_init_makes_an_empty_record_and_clears_an_old_one(desk: Path) -> None:
    (desk / "tmp").mkdir()
    (desk / RECORD).write_text("old", encoding="utf-8")
    started()
    assert (desk / RECORD).read_bytes() == b""


def test_quantizing_the_weights_writes_a_model_and_their_factors(desk: Path) -> None:
    graph = started()
    amct.weights_quantize_model(graph=graph, modified_model_file=MODIFIED[0], modified_weights_file=MODIFIED[1])
    record = (desk / RECORD).read_text(encoding="utf-8")
    assert record.count("scale_w") == record.count("offset_w: 0") > 0
    assert "scale_d" not in record
    text = (desk / MODIFIED[0]).read_text(encoding="utf-8")
    assert "IFMR" not in text and "BatchNorm" not in text
    net = caffe.Net(*MODIFIED, caffe.TEST)
    weights = net.params["conv1"][0].data
    for channel in weights.reshape(len(weights), -1):
        assert len(np.unique(channel)) <= 255
    # The float model and this one differ by what quantizing the weights costs, and no more.
    float_net = caffe.Net(MODEL, WEIGHTS, caffe.TEST)
    with np.load("digits.npz") as file:
        data = file["data"][:8]
    difference = np.abs(net.forward(data=data)["prob"] - float_net.forward(data=data)["prob"]).max()
    assert 0 < difference < 0.1


def test_the_calibration_model_has_the_settings_of_the_config(desk: Path) -> None:
    graph = started(batch_num=3)
    amct.weights_quantize_model(graph, *MODIFIED)
    amct.activation_quantize_model(graph, *MODIFIED)
    text = (desk / MODIFIED[0]).read_text(encoding="utf-8")
    assert text.count('type: "IFMR"') == text.count("batch_num: 3") > 0
    assert text.count(f'record_file_path: "{desk / RECORD}"') == text.count('type: "IFMR"')


def test_the_record_gets_its_factors_with_the_last_batch(desk: Path) -> None:
    graph = started()
    amct.quantize_model(graph, *MODIFIED)
    net = caffe.Net(*MODIFIED, caffe.TEST)
    with np.load("calibration.npz") as file:
        samples = file["data"]
    net.forward(data=samples[:8])
    assert "scale_d" not in (desk / RECORD).read_text(encoding="utf-8")
    net.forward(data=samples[8:16])
    record = (desk / RECORD).read_text(encoding="utf-8")
    assert "scale_d" in record and "scale_w" in record
    net.forward(data=samples[16:24])
    assert (desk / RECORD).read_text(encoding="utf-8") == record


@pytest.mark.parametrize(
    ("kind", "begins"), [("Fakequant", ("fake_quant",)), ("Deploy", ("deploy",)), ("Both", ("deploy", "fake_quant"))]
)
def test_save_model_writes_what_it_is_asked_for(desk: Path, kind: str, begins: tuple[str, ...]) -> None:
    graph = ready()
    amct.save_model(graph=graph, save_type=kind, save_path="results/model")
    found = saved(desk / "results/model")
    assert sorted(found) == [name for name in sorted(SAVED) if name.startswith((*begins, "quant"))]
    result = compile(MODEL, WEIGHTS, policy=CONFIG, data="calibration.npz", output=desk / "wanted/model")
    wanted = saved(desk / "wanted/model")
    assert len(result.files) == len(SAVED) + 1
    assert {name: wanted[name] for name in found} == found


def test_save_model_can_be_called_again(desk: Path) -> None:
    graph = ready()
    amct.save_model(graph, "Both", "results/a")
    amct.save_model(graph, "Both", "results/b")
    assert saved(desk / "results/a") == saved(desk / "results/b")


def test_a_prefix_that_ends_in_a_slash_gives_bare_names(desk: Path) -> None:
    amct.save_model(ready(), "Both", "results/")
    assert sorted(path.name for path in (desk / "results").iterdir()) == sorted(SAVED)


def test_a_prefix_like_the_names_of_the_files_confuses_nobody(desk: Path) -> None:
    amct.save_model(ready(), "Deploy", "results/deploy")
    assert sorted(saved(desk / "results/deploy")) == [
        "deploy_model.prototxt", "deploy_weights.caffemodel",
        "quant.json", "quant_param_record.bin", "quant_param_record.txt",
    ]  # fmt: skip


def test_convert_model_takes_the_factors_of_a_record(desk: Path) -> None:
    compile(MODEL, WEIGHTS, policy="policy.cfg", data="calibration.npz", output=desk / "wanted/model")
    wanted = saved(desk / "wanted/model")
    amct.convert_model(
        model_file=MODEL,
        weights_file=WEIGHTS,
        scale_offset_record_file="wanted/model_scale_offset_record.txt",
        save_path="results/model",
    )
    assert saved(desk / "results/model") == {name: wanted[name] for name in SAVED}


def test_convert_model_is_amctc_convert(desk: Path) -> None:
    compile(MODEL, WEIGHTS, policy="policy.cfg", data="calibration.npz", output=desk / "made/model")
    record = desk / "made/model_scale_offset_record.txt"
    text = record.read_text(encoding="utf-8").replace('key: "conv3"\n  value {', 'key: "conv3"\n  value {\n scale_w: 1')
    record.write_text(text, encoding="utf-8")
    with pytest.raises(RuntimeError) as refusal:
        amct.convert_model(MODEL, WEIGHTS, str(record), "results/model")
    with pytest.raises(DiagnosticError) as wanted:
        convert(MODEL, WEIGHTS, record=record, output="other/model")
    assert isinstance(refusal.value, DiagnosticError)
    assert refusal.value.diagnostics == wanted.value.diagnostics
    assert not (desk / "results").exists()


def test_uninplace_gives_every_layer_a_top_of_its_own(desk: Path) -> None:
    amct.uninplace_model(model_file=MODEL, uninplaced_model_file="tmp/net.prototxt")
    net = caffe.Net("tmp/net.prototxt", WEIGHTS, caffe.TEST)
    assert len(net.blobs) == len(net.layers)


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


older: Any = amct.create_quant_config
"""For calls that its signature does not have."""


def logged(desk: Path) -> str:
    return (desk / "amct_log/amct_caffe.log").read_text(encoding="utf-8")


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


def any_value(value: object) -> Any:
    return value


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

    def test_a_layer_without_weights_cannot_be_trained(self, desk: Path) -> None:
        (desk / "train.cfg").write_text("skip_layers: 'prob'\n", encoding="utf-8")
        with pytest.raises(ValueError, match="no layer `prob` that can be trained"):
            amct.create_quant_retrain_config(CONFIG, MODEL, WEIGHTS, "train.cfg")
        assert not (desk / CONFIG).exists()

    def test_mistakes_are_told_before_anything_is_written(self, desk: Path) -> None:
        with pytest.raises(FileNotFoundError):
            amct.create_quant_retrain_model(MODEL, WEIGHTS, "nowhere.json", *MODIFIED, RECORD)
        with pytest.raises(ValueError, match="save_type"):
            amct.save_quant_retrain_model(MODEL, WEIGHTS, "All", "results/model")
        (desk / "other.json").write_text('{"version": 1, "conv9": {"retrain_enable": true}}', encoding="utf-8")
        with pytest.raises(ValueError, match="conv9"):
            amct.create_quant_retrain_model(MODEL, WEIGHTS, "other.json", *MODIFIED, RECORD)


class TestDevice:
    def test_the_gpu_is_used_where_there_is_one(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import onnxruntime

        from amctc.runtime import providers

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [providers.CUDA, providers.CPU])
        amct.set_gpu_mode()
        first, *others = providers.providers()
        assert isinstance(first, tuple) and others == [providers.CPU]
        assert first[0] == providers.CUDA and first[1]["use_tf32"] == "0"
        assert "networks run on the GPU" in logged(desk)
        amct.set_cpu_mode()
        assert providers.providers() == [providers.CPU]

    def test_no_gpu_is_a_warning(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import onnxruntime

        from amctc.runtime import providers

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [providers.CPU])
        amct.set_gpu_mode()
        assert providers.providers() == [providers.CPU]
        assert " - WARNING - [AMCT]:[set_gpu_mode]: the installed ONNX Runtime has no CUDA provider" in logged(desk)


class TestLog:
    def test_a_wrong_level_is_told_and_the_usual_one_taken(
        self, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("AMCT_LOG_LEVEL", "LOUD")
        monkeypatch.setenv("AMCT_LOG_FILE_LEVEL", " debug ")
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS)
        shown = capsys.readouterr().err
        assert "WARNING - [AMCT]:[AMCT]: AMCT_LOG_LEVEL is `LOUD`, which is none of DEBUG, INFO" in shown
        assert "INFO - [AMCT]:[create_quant_config]" in shown
        started()
        assert "DEBUG - [AMCT]:[Utils]: tmp/config.json was there already" in logged(desk)

    def test_a_layer_s_story_is_told_to_who_debugs(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AMCT_LOG_FILE_LEVEL", "DEBUG")
        amct.weights_quantize_model(started(), *MODIFIED)
        assert 'DEBUG - [AMCT]:[quantize-weights]: layer:"conv1" 8 bits, one scale for each output channel' in logged(
            desk
        )

    def test_mistakes_are_logged(self, desk: Path) -> None:
        with pytest.raises(TypeError):
            amct.uninplace_model(any_value(3), "x")
        assert "ERROR - [AMCT]:[uninplace_model]: error[AM630]: `model_file` is of type `int`" in logged(desk)

    def test_a_program_begins_its_log_anew(self, desk: Path) -> None:
        (desk / "amct_log").mkdir()
        (desk / "amct_log/amct_caffe.log").write_text("of an earlier run\n", encoding="utf-8")
        amct.set_cpu_mode()
        started()
        text = logged(desk)
        assert "earlier" not in text and text.count("[create_quant_config]") == 1

    def test_the_library_alone_writes_no_log(self, desk: Path) -> None:
        compile(MODEL, WEIGHTS, policy="policy.cfg", data="calibration.npz", output=desk / "out/model")
        assert not (desk / "amct_log").exists()

    def test_a_log_that_cannot_be_written_stops_nothing(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (desk / "amct_log").write_text("a file", encoding="utf-8")
        started()
        assert "amct_caffe.log` cannot be written: " in capsys.readouterr().err


NETWORKS = sorted(path for path in (ASSETS / "caffe").rglob("*.prototxt") if "original" not in path.name)


@needs_assets
@pytest.mark.parametrize("model", NETWORKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_real_network_comes_out_as_amctc_compile_has_it(desk: Path, model: Path) -> None:
    own = model.with_suffix(".caffemodel")
    weights = own if own.exists() else next(model.parent.glob("*.caffemodel"))
    shapes = {name: value.shape or () for name, value in read_inputs(load_model(model, weights)).items()}
    rng = np.random.default_rng(0)
    halves = [{name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()} for _ in range(2)]
    data = {name: np.concatenate([half[name] for half in halves]) for name in shapes}
    np.savez("data.npz", **any_value(data))
    amct.create_quant_config(CONFIG, str(model), str(weights), 2)
    graph = amct.init(CONFIG, str(model), str(weights), RECORD)
    amct.quantize_model(graph, *MODIFIED)
    net = caffe.Net(*MODIFIED, caffe.TEST)
    for half in halves:
        net.forward(**any_value(half))
    amct.save_model(graph, "Both", "results/net")
    compile(model, weights, policy=CONFIG, data="data.npz", output=desk / "wanted/net")
    wanted = saved(desk / "wanted/net")
    assert saved(desk / "results/net") == {name: wanted[name] for name in SAVED}
    assert (desk / RECORD).read_bytes() == wanted["scale_offset_record.txt"]
    amct.convert_model(str(model), str(weights), RECORD, "converted/net")
    assert saved(desk / "converted/net") == {name: wanted[name] for name in SAVED}
    fake, deploy = (
        caffe.Net(f"results/net_{kind}_model.prototxt", f"results/net_{kind}_weights.caffemodel", caffe.TEST).forward(
            **any_value(halves[0])
        )
        for kind in ("fake_quant", "deploy")
    )
    assert fake.keys() == deploy.keys()
    for name, array in fake.items():
        assert array.shape == deploy[name].shape and np.isfinite(array).all() and np.isfinite(deploy[name]).all()
