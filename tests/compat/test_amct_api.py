"""The functions of `amct_caffe` one by one: their arguments, and what they write."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amctc.compat import amct_caffe as amct
from amctc.compat import caffe
from amctc.diagnostics import DiagnosticError
from amctc.driver import compile, convert
from amctc.frontends import load_model
from amctc.runtime.executor import read_inputs
from tests.compat.amct_steps import CONFIG, MODEL, MODIFIED, RECORD, WEIGHTS, any_value, at_desk, ready, started
from tests.compat.running import SAVED, saved
from tests.shared_files import ASSETS, needs_assets


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one, and a log of its own."""
    with at_desk(tmp_path, monkeypatch):
        yield tmp_path


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
