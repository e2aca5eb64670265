"""The manual's sample of non-uniform quantization: `amct_caffe` and Caffe in turns, in one process or in several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import amct_caffe as amct
from amctc.compat import caffe
from amctc.compat.amct_caffe.log import log
from amctc.compat.interface_log import FILE_VARIABLE, SCREEN_VARIABLE
from amctc.diagnostics import DiagnosticError, Level
from amctc.frontends.caffe.weights import read_weights
from amctc.records.read_record import read_record
from amctc.targets.caffe.batch_norm_file import batch_norm_file
from tests.compat.running import SAVED, compiled, digits, run_script, saved
from tests.policy.test_seed_samples import BN_UPDATE, COMMON, OVERRIDES, sample
from tests.shared_files import needs_seeds

MODEL, WEIGHTS, DATA = "digits.prototxt", "digits.caffemodel", "calibration.npz"
CONFIG, RECORD = "tmp/config.json", "tmp/scale_offset_record.txt"
JOINED = "tmp/scale_offset_record_update.txt"
MODIFIED = ("tmp/modified_model.prototxt", "tmp/modified_model.caffemodel")
CALIBRATION = ("tmp/activation_modified_model.prototxt", "tmp/activation_modified_model.caffemodel")
STATISTICS = "tmp/bn_data/batchnorm.caffemodel"
CLUSTERED = {"conv2/dw", "conv2/pw", "conv3"}
SIZE, RENEWED = 8, 4


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one, and a log of its own."""
    digits(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (SCREEN_VARIABLE, FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    log.close()
    yield tmp_path
    log.close()


def policy(iterations: int = RENEWED) -> str:
    """What the manual's snq_quant.cfg says, with fewer batches for the renewal."""
    return f"""
update_bn: true
bn_update_config {{ bn_update_iterations: {iterations} bn_moving_average_fraction: 0.5 bn_dump_dir: 'tmp/bn_data' }}
common_config {{ snq_quantize {{ channel_wise: true max_iteration: 1000 min_distance: 1e-10 init_algo: 'gaussian' }} }}
override_layer_types {{ layer_type: "InnerProduct" calibration_config {{ arq_quantize {{ channel_wise: false }} }} }}
override_layer_configs {{ layer_name: "conv1" calibration_config {{ arq_quantize {{ channel_wise: true }} }} }}
batch_num: 2
"""


def started(text: str | None = None) -> Any:
    Path("snq_quant.cfg").write_text(policy() if text is None else text, encoding="utf-8")
    amct.create_quant_config(
        config_file=CONFIG, model_file=MODEL, weights_file=WEIGHTS, config_defination="snq_quant.cfg"
    )
    return amct.init(CONFIG, MODEL, WEIGHTS, RECORD)


def forward(files: tuple[str, str], batches: int) -> dict[str, list[NDArray[np.float32]]]:
    """Run a model in Caffe on the first batches, begun again where they end; the blobs of its BatchNorm layers."""
    net = caffe.Net(*files, caffe.TEST)
    with np.load(DATA) as file:
        samples = file["data"]
    whole = len(samples) // SIZE
    for number in range(batches):
        start = number % whole * SIZE
        net.forward(data=samples[start : start + SIZE])
    return {name: [blob.data.copy() for blob in net.params[name]] for name in net.params if name.endswith("/bn")}


def sampled(text: str | None = None, iterations: int = RENEWED) -> Any:
    """The whole sample up to `save_model`."""
    graph = started(text)
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, iterations)
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    return graph


def wanted(policy_file: str = CONFIG) -> Mapping[str, bytes]:
    """What `amctc compile` writes."""
    return compiled(Path(MODEL), Path(WEIGHTS), Path(DATA), Path(policy_file), Path("wanted/model"))


def assert_saved(graph: Any, expected: Mapping[str, bytes]) -> None:
    amct.save_model(graph, "Both", "results/model")
    found = saved(Path("results/model"))
    assert sorted(found) == sorted(SAVED)
    assert [name for name in SAVED if found[name] != expected[name]] == []


def code(refusal: pytest.ExceptionInfo[Any]) -> str:
    assert isinstance(refusal.value, DiagnosticError)
    return next(found.code for found in refusal.value.diagnostics if found.level is Level.ERROR)


# -- the sample ----------------------------------------------------------------------------------------------------


@needs_seeds
def test_the_manuals_policy_unchanged_gives_what_compile_gives() -> None:
    text = "".join(sample(line).text for line in (BN_UPDATE, COMMON, OVERRIDES))
    graph = sampled(text, iterations=30)
    written = Path(STATISTICS).read_bytes()
    assert_saved(graph, wanted("snq_quant.cfg"))
    assert Path(STATISTICS).read_bytes() == written


def test_the_sample_leaves_the_files_that_the_manual_lists() -> None:
    graph = sampled()
    amct.save_model(graph, "Both", "results/calibration_results/digits")
    listed = {CONFIG, RECORD, JOINED, *MODIFIED, *CALIBRATION, STATISTICS}
    assert {str(path) for path in Path("tmp").rglob("*") if path.is_file()} == listed
    assert sorted(saved(Path("results/calibration_results/digits"))) == sorted(SAVED)
    assert Path("amct_log/amct_caffe.log").is_file()


def test_the_first_record_is_that_before_the_fusion_and_the_second_that_behind_it() -> None:
    sampled()
    before, behind = (read_record(path).by_name for path in (RECORD, JOINED))
    assert before.keys() == CLUSTERED | {"conv1", "fc"}
    assert before.keys() <= behind.keys()
    for name, entry in before.items():
        assert not any(given.scale is not None for given in (entry.input(0),) if given is not None)
        assert entry.bits_w == behind[name].bits_w == (4 if name in CLUSTERED else 8)
        assert len(entry.cluster) == (16 * len(entry.scale_w) if name in CLUSTERED else 0)
        assert len(entry.scale_w) == len(behind[name].scale_w)
        given = behind[name].input(0)
        assert given is not None and given.scale is not None
    assert before["fc"].scale_w == behind["fc"].scale_w
    assert before["conv3"].scale_w != behind["conv3"].scale_w


def test_the_modified_model_has_few_weights_and_its_statistics_move() -> None:
    graph = started()
    amct.weights_quantize_model(graph, *MODIFIED)
    net = caffe.Net(*MODIFIED, caffe.TEST)
    for name in CLUSTERED:
        weight = net.params[name][0].data
        assert max(len(np.unique(row)) for row in weight.reshape(len(weight), -1)) <= 16
    stored = read_weights(WEIGHTS)
    blobs = forward(MODIFIED, RENEWED)
    dumped = read_weights(STATISTICS)
    assert dumped.keys() == blobs.keys()
    for name, arrays in blobs.items():
        assert not np.array_equal(arrays[0], stored[name][0])
        for got, found in zip(dumped[name], arrays, strict=True):
            assert np.array_equal(got, found)


def test_both_records_and_the_statistics_have_the_numbers_of_compile() -> None:
    assert_saved(sampled(), wanted())
    mine = read_record(JOINED).by_name
    theirs = read_record("wanted/model_scale_offset_record.txt").by_name
    assert mine.keys() == theirs.keys()
    for name, entry in mine.items():
        other = theirs[name]
        assert (entry.scale_w, entry.cluster, entry.bits_w) == (other.scale_w, other.cluster, other.bits_w)


@pytest.mark.parametrize("text", ["common_config { snq_quantize { channel_wise: false } }", "update_bn: true", ""])
@pytest.mark.parametrize("more", ["", "do_fusion: false", 'skip_fusion_layers: "conv3"'])
def test_other_policies_give_what_compile_gives(text: str, more: str) -> None:
    graph = started(f"batch_num: 2 {text} {more}")
    amct.weights_quantize_model(graph, *MODIFIED)
    if "update" in text:
        forward(MODIFIED, 30)
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    assert Path(JOINED).exists() == bool(text)
    assert_saved(graph, wanted())


def test_a_config_that_is_edited_by_hand_holds() -> None:
    started()
    config = json.loads(Path(CONFIG).read_text(encoding="utf-8"))
    assert config["update_bn"] is True
    assert config["conv3"]["weight_quant_params"]["wts_algo"] == "snq_quantize"
    config["conv3"]["weight_quant_params"] = {"wts_algo": "arq_quantize", "channel_wise": True}
    config["conv2/pw"]["weight_quant_params"]["init_algo"] = "optimal"
    config["bn_update_config"] = {"bn_update_iterations": 2, "bn_dump_dir": "elsewhere"}
    Path(CONFIG).write_text(json.dumps(config, indent=4), encoding="utf-8")
    graph = amct.init(CONFIG, MODEL, WEIGHTS, RECORD)
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, 2)
    assert Path("elsewhere/batchnorm.caffemodel").is_file() and not Path(STATISTICS).exists()
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    layers = read_record(JOINED).by_name
    assert [layers[name].bits_w for name in ("conv2/dw", "conv2/pw", "conv3")] == [4, 4, 8]
    assert_saved(graph, wanted())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"max_iteration": 100}, "max_iteration"),
        ({"min_distance": 1}, "min_distance"),
        ({"init_algo": "gausian"}, "gaussian"),
        ({"num_bits": 8}, "num_bits"),
    ],
)
def test_a_mistake_in_a_config_that_is_edited_by_hand_is_named(change: dict[str, object], word: str) -> None:
    started()
    Path(RECORD).write_text("# kept", encoding="utf-8")
    config = json.loads(Path(CONFIG).read_text(encoding="utf-8"))
    config["conv3"]["weight_quant_params"].update(change)
    Path(CONFIG).write_text(json.dumps(config, indent=4), encoding="utf-8")
    with pytest.raises(ValueError, match=word) as refusal:
        amct.init(CONFIG, MODEL, WEIGHTS, RECORD)
    assert "config.json:" in str(refusal.value)
    assert Path(RECORD).read_text(encoding="utf-8") == "# kept"


# -- the order of things -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passes", [0, RENEWED - 1])
def test_forgetting_to_run_the_modified_model_is_told(passes: int) -> None:
    graph = started()
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, passes)
    with pytest.raises(RuntimeError, match="`bn_update_iterations`") as refusal:
        amct.activation_quantize_model(graph, *CALIBRATION)
    assert code(refusal) == "AM632"
    assert not Path(CALIBRATION[0]).exists()
    forward(MODIFIED, RENEWED)  # and can be made up for
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    assert_saved(graph, wanted())


def test_both_steps_in_one_leave_no_place_for_the_renewal() -> None:
    graph = started()
    with pytest.raises(RuntimeError) as refusal:
        amct.quantize_model(graph, *MODIFIED)
    assert code(refusal) == "AM632"
    forward(MODIFIED, RENEWED)
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    assert_saved(graph, wanted())


def test_both_steps_in_one_do_where_nothing_is_renewed() -> None:
    graph = started(policy().replace("update_bn: true", "update_bn: false"))
    amct.quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    assert not Path(STATISTICS).exists()
    assert_saved(graph, wanted())


def test_statistics_of_an_earlier_run_are_not_taken() -> None:
    sampled()
    assert Path(STATISTICS).is_file()
    graph = started(policy().replace("gaussian", "optimal"))
    amct.weights_quantize_model(graph, *MODIFIED)
    with pytest.raises(RuntimeError) as refusal:
        amct.activation_quantize_model(graph, *CALIBRATION)
    assert code(refusal) == "AM632"


def test_a_record_of_an_earlier_run_is_not_taken() -> None:
    sampled()
    graph = started()
    assert Path(RECORD).read_bytes() == Path(JOINED).read_bytes() == b""
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, RENEWED)
    amct.activation_quantize_model(graph, *CALIBRATION)
    with pytest.raises(RuntimeError, match=r"^Cannot find scale_d of layer 'conv1'") as refusal:
        amct.save_model(graph, "Both", "results/model")
    assert code(refusal) == "AM633"


def test_new_weights_ask_for_a_new_calibration() -> None:
    graph = sampled()
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, RENEWED)
    for task in (graph, resumed()):
        with pytest.raises(RuntimeError, match="call `activation_quantize_model`") as refusal:
            amct.save_model(task, "Both", "results/model")
        assert code(refusal) == "AM632"
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    assert_saved(graph, wanted())


def test_the_steps_may_be_done_again() -> None:
    graph = sampled()
    first = {path: path.read_bytes() for path in Path("tmp").rglob("*") if path.is_file() and path != Path(JOINED)}
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, RENEWED)
    amct.activation_quantize_model(graph, *CALIBRATION)
    forward(CALIBRATION, 2)
    assert {path: path.read_bytes() for path in first} == first
    assert_saved(graph, wanted())


def test_statistics_of_another_model_are_refused() -> None:
    graph = started()
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, RENEWED)
    channels = np.ones(3, np.float32)
    other = {"other/bn": {"mean": channels, "variance": channels, "factor": channels[:1]}}
    Path(STATISTICS).write_bytes(batch_norm_file(other))
    with pytest.raises(ValueError, match=r"`conv1/bn` \(BatchNorm\): has no statistics"):
        amct.activation_quantize_model(graph, *CALIBRATION)
    assert not Path(CALIBRATION[0]).exists()


def test_the_working_folder_may_change_on_the_way(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = started()
    amct.weights_quantize_model(graph, *MODIFIED)
    forward(MODIFIED, RENEWED)
    (desk / "elsewhere").mkdir()
    monkeypatch.chdir(desk / "elsewhere")
    amct.activation_quantize_model(graph, *(str(desk / name) for name in CALIBRATION))
    monkeypatch.chdir(desk)
    forward(CALIBRATION, 2)
    assert_saved(graph, wanted())


# -- several processes ---------------------------------------------------------------------------------------------

SCRIPT = f"""
import sys

import hotwheels.amct_caffe as amct
import numpy as np

FILES = ({CONFIG!r}, {MODEL!r}, {WEIGHTS!r}, {RECORD!r})


def run(files, batches):
    import caffe

    net = caffe.Net(*files, caffe.TEST)
    with np.load({DATA!r}) as file:
        samples = file["data"]
    for number in range(batches):
        start = number % (len(samples) // {SIZE}) * {SIZE}
        net.forward(data=samples[start : start + {SIZE}])


def step(name):
    if name == "weights":
        amct.create_quant_config({CONFIG!r}, {MODEL!r}, {WEIGHTS!r}, config_defination="snq_quant.cfg")
        amct.weights_quantize_model(amct.init(*FILES), *{MODIFIED!r})
    elif name == "renew":
        run({MODIFIED!r}, {RENEWED})
    elif name == "activations":
        amct.activation_quantize_model(amct.resume(*FILES), *{CALIBRATION!r})
    elif name == "calibrate":
        run({CALIBRATION!r}, 2)
    else:
        amct.save_model(amct.resume(*FILES), "Both", "results/model")


for name in sys.argv[1:]:
    step(name)
"""

STEPS = ("weights", "renew", "activations", "calibrate", "save")


def in_processes(desk: Path, *processes: tuple[str, ...]) -> None:
    script = desk / "step.py"
    script.write_text(SCRIPT, encoding="utf-8")
    (desk / "snq_quant.cfg").write_text(policy(), encoding="utf-8")
    for steps in processes:
        run_script(script, *steps, cwd=desk)


def test_every_step_in_a_process_of_its_own_gives_what_compile_gives(desk: Path) -> None:
    in_processes(desk, *((step,) for step in STEPS))
    expected, found = wanted(), saved(Path("results/model"))
    assert [name for name in SAVED if found[name] != expected[name]] == []


def resumed() -> Any:
    return amct.resume(CONFIG, MODEL, WEIGHTS, RECORD)


def test_resuming_tells_what_is_still_to_be_done() -> None:
    graph = started()
    with pytest.raises(RuntimeError, match="call `weights_quantize_model`"):
        amct.activation_quantize_model(resumed(), *CALIBRATION)
    amct.weights_quantize_model(graph, *MODIFIED)
    with pytest.raises(RuntimeError, match="the BatchNorm layers are not updated yet"):
        amct.activation_quantize_model(resumed(), *CALIBRATION)
    with pytest.raises(RuntimeError, match="call `activation_quantize_model`"):
        amct.save_model(resumed(), "Both", "results/model")
    forward(MODIFIED, RENEWED)
    with pytest.raises(RuntimeError, match="call `activation_quantize_model`"):
        amct.save_model(resumed(), "Both", "results/model")
    amct.activation_quantize_model(resumed(), *CALIBRATION)
    with pytest.raises(RuntimeError, match="Cannot find scale_d of layer 'conv1'"):
        amct.save_model(resumed(), "Both", "results/model")
    forward(CALIBRATION, 2)
    assert_saved(resumed(), wanted())


def test_resuming_from_the_weights_may_begin_with_them_again() -> None:
    started()
    amct.weights_quantize_model(resumed(), *MODIFIED)
    forward(MODIFIED, RENEWED)
    amct.weights_quantize_model(resumed(), *MODIFIED)
    assert not Path(STATISTICS).exists()
    forward(MODIFIED, RENEWED)
    amct.activation_quantize_model(resumed(), *CALIBRATION)
    forward(CALIBRATION, 2)
    assert_saved(resumed(), wanted())
