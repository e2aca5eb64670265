"""The configs, records and models that the real AMCT wrote for two torch modules, from the same data and configs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from amctc.quant.hfmg import HFMG
from tests.compat.amct_pytorch.recorded import BALANCED, CASES, FOLDER, Run, batches_of, run
from tests.e2e.test_amct_onnx_goldens import assert_near, integers, numbers, recorded
from tests.modules.nets import MODELS
from tests.onnx_nets import run_model
from tests.shared_files import needs_golden

pytestmark = [needs_golden, pytest.mark.usefixtures("exported_once")]

SEARCH_STEP = 0.01 / 0.7
"""The most that two neighbouring candidates of IFMR's usual search differ by."""
MOVED = frozenset({"Constant", "Shape", "Gather", "Squeeze", "Unsqueeze", "Concat", "Flatten", "Reshape"})
"""What the two exporters of torch write of a change of shape."""
QUANTIZED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool"})


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_run_is_repeated(case: str, tmp_path: Path) -> None:
    found, theirs = run(case, tmp_path), FOLDER / "ptq" / case
    assert found.text("config.json") == (theirs / "config.json").read_text()
    assert_same_record(found.text("record.txt"), (theirs / "record.txt").read_text(), case)
    if case in BALANCED:
        assert_same_record(found.text("record_dmq.txt"), (theirs / "record_dmq.txt").read_text(), case)
    assert_same_module(found, case)
    deploy, wanted = (onnx.load(str(path)) for path in (tmp_path / "deploy_model.onnx", theirs / "deploy.onnx"))
    assert_same_layers(deploy, wanted)
    assert_same_integers(deploy, wanted, case)
    assert_same_outputs(tmp_path / "fake_quant_model.onnx", case)


def assert_same_record(ours: str, theirs: str, case: str) -> None:
    """The same entries and fields in the same order; scales but for the last bits of sums.

    Behind a deconvolution those of data are one step of the search apart at most: AMCT forgets to round its weights
    while it calibrates (README of the recordings, difference 7).
    """
    pattern = r"^( *\w+: )(.*)$"
    mine, wanted = (re.findall(pattern, text, re.MULTILINE) for text in (ours, theirs))
    assert [field for field, _ in mine] == [field for field, _ in wanted]
    for (field, found), (_, said) in zip(mine, wanted, strict=True):
        if '"' in said:
            assert found == said, field
            continue
        tolerance = SEARCH_STEP if case.startswith("misc") and "scale_d" in field else 1e-6
        if "offset" in field:
            assert abs(int(found) - int(said)) <= case.startswith("misc"), field
        else:
            np.testing.assert_allclose(np.float32(found), np.float32(said), rtol=tolerance, err_msg=field)


def assert_same_module(found: Run, case: str) -> None:
    """The calibration model has AMCT's weights, under AMCT's names, and gives what AMCT's gives."""
    state = found.calibration_model.state_dict()
    with np.load(FOLDER / "ptq" / case / "calib_out.npz") as theirs:
        for name in (name for name in theirs.files if name.startswith("w.")):
            array = state[name.removeprefix("w.")].numpy()
            # AMCT's deconvolution is not rounded: half an integer is the most that it is off.
            tolerance = 4e-3 if "deconv" in name else 1e-6
            np.testing.assert_allclose(array, theirs[name], rtol=1e-5, atol=tolerance, err_msg=name)
        wanted = theirs["cali_model_out"]
    np.testing.assert_allclose(found.outputs, wanted, atol=(2e-3 if case.startswith("misc") else 2e-6) * 16)


def assert_same_layers(ours: ModelProto, theirs: ModelProto) -> None:
    """The same nodes in the same order, the quantized layers under the same names and with the same attributes."""
    mine, wanted = ([node for node in model.graph.node if node.op_type not in MOVED] for model in (ours, theirs))
    assert [node.op_type for node in mine] == [node.op_type for node in wanted]
    quantized = {node.name: attributes(node) for node in mine if node.op_type in QUANTIZED}
    assert quantized.keys() == {node.name for node in wanted if node.op_type in QUANTIZED}
    for node in wanted:
        if node.op_type in QUANTIZED:
            said = attributes(node)
            assert {name: quantized[node.name][name] for name in said} == said, node.name
    ascend = [(node.op_type, node.name) for node in mine if node.op_type.startswith("Ascend")]
    assert ascend == [(node.op_type, node.name) for node in wanted if node.op_type.startswith("Ascend")]


def attributes(node: Any) -> dict[str, object]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def assert_same_integers(ours: ModelProto, theirs: ModelProto, case: str) -> None:
    mine, wanted = integers(ours), integers(theirs)
    assert mine.keys() == wanted.keys()
    for name, arrays in wanted.items():
        for found, said in zip(mine[name], arrays, strict=True):
            assert (found.dtype, found.shape) == (said.dtype, said.shape), name
            if found.dtype.kind == "f":
                np.testing.assert_allclose(found, said, rtol=1e-5, atol=1e-6, err_msg=name)
            elif found.dtype == np.int32 and case.startswith("misc"):
                # A bias is on the grid of the data's scale, which may be another candidate of the search.
                np.testing.assert_allclose(found, said, rtol=SEARCH_STEP, atol=2, err_msg=name)
            else:
                assert_near(found, said, name)


def assert_same_outputs(model: Path, case: str) -> None:
    """Outputs within one unit of a grid of 8 bits, and on the test images an accuracy within 0.3 points.

    Behind a deconvolution, where scales are other candidates of the search, within two.
    """
    batches = batches_of(case)
    with np.load(FOLDER / "ptq" / case / "fakequant_out.npz") as wanted:
        calibration = wanted["fakequant_calib_out"]
        test = wanted["fakequant_test_out"] if "fakequant_test_out" in wanted.files else None
    unit = float(np.abs(calibration).max()) / 127 * (2 if case.startswith("misc") else 1)
    found = np.stack([run_model(model, {"x": batch.numpy()})["y"] for batch in batches[: len(calibration)]])
    assert np.abs(found - calibration).max() <= unit
    if test is None:
        return
    with np.load(MODELS / "digits_io.npz") as arrays:
        images, labels = arrays["test_x"], arrays["test_y"]
    scores = run_model(model, {"x": images})["y"]
    assert np.abs(scores - test).max() <= unit
    accuracy, theirs = ((each.argmax(axis=1) == labels).mean() for each in (scores, test))
    assert abs(accuracy - theirs) <= 0.003


def test_the_policies_of_the_recordings_use_both_algorithms() -> None:
    texts = [path.read_text() for path in (FOLDER / "ptq").glob("*/config.json")]
    assert any(f'"{HFMG}"' in text for text in texts)
    assert any('"ifmr"' in text for text in texts)


@pytest.mark.parametrize("case", ["default", "misc_dmq"])
def test_the_files_of_amct_are_saved_as_models_with_its_integers(case: str, tmp_path: Path) -> None:
    """`save_model` goes on where AMCT's `quantize_model` stopped."""
    import amctc.compat.amct_pytorch as amct

    theirs = FOLDER / "ptq" / case
    modified = theirs / "modified.onnx"
    if not modified.exists():
        run(case, tmp_path)
        modified = tmp_path / "modified.onnx"
    amct.save_model(str(modified), str(theirs / "record.txt"), str(tmp_path / "out" / "net"))
    made = onnx.load(str(tmp_path / "out" / "net_deploy_model.onnx"))
    wanted = onnx.load(str(theirs / "deploy.onnx"))
    assert_same_layers(made, wanted)
    assert_same_integers(made, wanted, "default")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "net_deploy_model.onnx",
        "net_fake_quant_model.onnx",
    ]


def test_the_record_tells_the_scales_of_weights_before_the_calibration(tmp_path: Path) -> None:
    found = run("default", tmp_path)
    fields = recorded("default")
    entry = found.text("record.txt").split("record {")[1]
    scales = re.findall(r"scale_w: (\S+)", entry)
    np.testing.assert_allclose(numbers(scales), numbers(fields["conv1"]["scale_w"]), rtol=1e-6)
