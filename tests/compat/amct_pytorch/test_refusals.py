"""What AMCT refuses is refused here too, as the same kind of exception, and told better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import amctc.compat.amct_pytorch as amct
from amctc.diagnostics import DiagnosticError
from tests.compat.amct_pytorch.recorded import FOLDER, arguments_of, batches_of, run
from tests.modules.nets import digits
from tests.shared_files import needs_golden

pytestmark = [needs_golden, pytest.mark.usefixtures("exported_once")]

REJECTS: list[dict[str, Any]] = json.loads((FOLDER / "rejects.json").read_text()) if FOLDER.is_dir() else []
CONFIGS = [
    each for each in REJECTS if each["flow"] == "ptq" and each["case"] not in ("reject_nan_input", "reject_short_calib")
]
KINDS = {"ValueError": ValueError, "TypeError": TypeError, "RuntimeError": RuntimeError, "ParseError": ValueError}
SAID = {
    "reject_bad_text": ("AM200", "`common_config` has no field `nope`"),
    "reject_batch0": ("AM210", "`batch_num` must be at least 1"),
    "reject_batch0_arg": ("AM631", "`batch_num` is 0"),
    "reject_bins1000": ("AM210", "`num_of_bins` must be one of 1024, 2048, 4096, 8192"),
    "reject_bits16": ("AM210", "`quant_bits` must be one of 4, 6, 7, 8"),
    "reject_bits5": ("AM210", "`quant_bits` must be one of 4, 6, 7, 8"),
    "reject_channelwise_pool": ("AM227", "layer `pool` is a `AvgPool2d`, which has one scale"),
    "reject_dmq_high": ("AM210", "`migration_strength` must be at least 0.2 and at most 0.8"),
    "reject_dmq_low": ("AM210", "`migration_strength` must be at least 0.2 and at most 0.8"),
    "reject_linear_channelwise": ("AM227", "layer `fc1` is a `Linear`, which has one scale"),
    "reject_pct_high": ("AM210", "`max_percentile` must be above 0.5"),
    "reject_pct_low": ("AM210", "`max_percentile` must be above 0.5"),
    "reject_range_neg": ("AM210", "`search_range_start` must be above 0"),
    "reject_range_rev": ("AM212", "the search range ends at 0.7"),
    "reject_skip_all": ("AM224", "no layer is left to quantize"),
    "reject_skip_unknown_arg": ("AM220", "the model has no layer `nope`"),
    "reject_step0": ("AM210", "`search_step` must be above 0"),
    "reject_step_neg": ("AM210", "`search_step` must be above 0"),
    "reject_unknown_override": ("AM220", "the model has no layer `nope`"),
    "reject_unknown_skip": ("AM220", "the model has no layer `nope`"),
    "reject_unknown_type": ("AM222", "there is no layer type `Conv9d`"),
}


def refused(recorded: dict[str, Any], found: pytest.ExceptionInfo[DiagnosticError]) -> None:
    """Assert that it is of the kind that AMCT raised, and says what is wrong and what to do."""
    assert isinstance(found.value, KINDS[recorded["error"].partition(":")[0]])
    code, words = SAID[recorded["case"]]
    first = next(each for each in found.value.diagnostics if each.level == "error")
    assert first.code == code
    assert words in first.message
    assert first.help or first.span is not None


@pytest.mark.parametrize("recorded", CONFIGS, ids=[each["case"] for each in CONFIGS])
def test_a_config_that_amct_refuses_is_refused(recorded: dict[str, Any], tmp_path: Path) -> None:
    said = dict(recorded["create_quant_config"])
    if said["config_defination"]:
        (tmp_path / "quant.cfg").write_text(recorded["cfg"])
    said["config_defination"] = "quant.cfg" if said["config_defination"] else None
    with pytest.raises(DiagnosticError) as found:
        amct.create_quant_config("config.json", digits(), (batches_of("default")[0],), **said)
    refused(recorded, found)
    assert not Path("config.json").exists()


def calibration_model(batch_num: int = 1) -> torch.nn.Module:
    example = (batches_of("default")[0],)
    amct.create_quant_config("config.json", digits(), example, batch_num=batch_num)
    return amct.quantize_model("config.json", "modified.onnx", "record.txt", digits(), example)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_data_that_are_no_numbers_are_refused_and_the_layer_is_named(value: float) -> None:
    model, batch = calibration_model(), batches_of("default")[0].clone()
    batch[3, 0, 2, 2] = value
    with pytest.raises(RuntimeError, match=r"`conv1`.*AM404"):
        model(batch)
    with pytest.raises(RuntimeError, match=r"stopped halfway.*AM951"):
        model(batches_of("default")[0])


def test_a_short_calibration_cannot_be_saved() -> None:
    model = calibration_model(batch_num=3)
    for batch in batches_of("default")[:2]:
        model(batch)
    with pytest.raises(RuntimeError, match=r"cannot find scale_d of layer `conv1` in the record.*AM633"):
        amct.save_model("modified.onnx", "record.txt", "net")
    assert not list(Path().glob("net*"))
    model(batches_of("default")[2])
    amct.save_model("modified.onnx", "record.txt", "net")
    assert sorted(path.name for path in Path().glob("net*")) == ["net_deploy_model.onnx", "net_fake_quant_model.onnx"]


def test_balanced_layers_need_the_factors_of_the_step_before(tmp_path: Path) -> None:
    example = (batches_of("dmq")[0],)
    amct.create_quant_config("config.json", digits(), example, **arguments_of("dmq"))
    Path("record.txt").write_text("")
    with pytest.raises(RuntimeError, match=r"no `tensor_balance_factor` for layer `conv1`.*AM954"):
        amct.quantize_model("config.json", "modified.onnx", "record.txt", digits(), example)
    with pytest.raises(RuntimeError):
        amct.quantize_model("config.json", "modified.onnx", "there_is_none.txt", digits(), example)


def test_without_a_balancer_there_is_nothing_to_preprocess() -> None:
    example = (batches_of("default")[0],)
    amct.create_quant_config("config.json", digits(), example)
    with pytest.raises(RuntimeError, match=r"no layer of this config has a `dmq_balancer`.*AM956"):
        amct.quantize_preprocess("config.json", "record.txt", digits(), example)


def test_a_calibration_model_is_not_quantized_again() -> None:
    model = calibration_model()
    with pytest.raises(RuntimeError, match="AM950"):
        amct.create_quant_config("config.json", model, (batches_of("default")[0],))


def test_a_model_that_is_quantized_already_is_no_modified_model(tmp_path: Path) -> None:
    run("default", tmp_path)
    with pytest.raises(RuntimeError, match=r"quantized already.*AM332"):
        amct.save_model("deploy_model.onnx", "record.txt", "net")


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"model": "net.pth"}, TypeError, "`model` is of type `str`"),
        ({"input_data": 3}, TypeError, "`input_data` is of type `int`"),
        ({"model": torch.nn.Conv2d(1, 2, 3)}, RuntimeError, "`model` is itself a layer"),
        ({"batch_num": "2"}, TypeError, "`batch_num` is of type `str`"),
        ({"skip_layers": "conv1"}, TypeError, "`skip_layers` is of type `str`"),
        ({"config_file": "folder/"}, ValueError, "names a folder"),
        ({"config_defination": "nowhere.cfg"}, FileNotFoundError, "nowhere.cfg"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    given: dict[str, Any] = {"config_file": "config.json", "model": digits(), "input_data": (batches_of("default")[0],)}
    with pytest.raises(kind, match=words):
        amct.create_quant_config(**(given | arguments))
