"""Quantization-aware training of the recorded network is that of AMCT, from the config to the saved models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from amctc.compat.amct_pytorch import network
from amctc.compat.amct_pytorch.retraining import (
    create_quant_retrain_config,
    create_quant_retrain_model,
    restore_quant_retrain_model,
    save_quant_retrain_model,
)
from amctc.modules.retrain_model import retrain_layers
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.trained_weights import usable_scale
from amctc.records.read_record import read_record
from amctc.records.scale_record import LayerRecord
from amctc.training.quantizers import UlqState
from tests.compat.amct_pytorch.exports import remember_exports
from tests.compat.amct_pytorch.recorded import FOLDER
from tests.modules.nets import MODELS, digits
from tests.onnx_nets import run_model
from tests.shared_files import needs_golden

pytestmark = [pytest.mark.torch, needs_golden]

RATE = 0.01
SHIFTED = "conv1.quant_module.replaced_module.bias"
"""A bias that BatchNorm takes away again: its gradient is 0 but for the last digits."""

SCALES = "conv1.quant_module.wts_scales"
CLIPS = ("acts_clip_max", "acts_clip_min")

CASES = {"qat_default": 2e-5, "qat_arq_pertensor": 2e-5, "qat_ulq_wts": 2e-5, "qat_a8w4": 2e-5, "qat_int16": 1e-3}
"""The cases, and how much outputs of up to 16 may differ.

With 16 bits the recorded program adds the offset before it rounds, which in float32 takes other integers: a step of
the grid is 1e-4 of the output, and the gradients of clips, residues of rounding, are others then.
"""

NEGATIVE = "qat_ulq_wts"
"""The case in which AMCT goes on with a scale that the last step has taken below 0 (see the last test)."""


def arrays_of(path: Path) -> Mapping[str, NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def images() -> Mapping[str, NDArray[np.float32]]:
    """`calib` [4, 16, 1, 8, 8], `test_x` [360, 1, 8, 8] and `test_y` [360]."""
    return arrays_of(MODELS / "digits_io.npz")


def recorded_training(case: str) -> tuple[dict[str, Any], Mapping[str, NDArray[np.float32]], list[list[int]]]:
    """The config of a recorded training, its arrays and the labels of its steps."""
    folder = FOLDER / "qat" / case
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    labels: list[list[int]] = json.loads((folder / "info.json").read_text())["labels"]
    return config, arrays_of(folder / "qat.npz"), labels


@dataclass
class Step:
    """What a step of training gave: the output, and gradients and state by name, the latter behind the update."""

    out: Tensor
    gradients: dict[str, Tensor]
    state: dict[str, Tensor]


@dataclass
class Run:
    """A training of four steps, one evaluation, and the files that are saved of it."""

    folder: Path
    steps: list[Step] = field(default_factory=list[Step])
    evaluated: Tensor = field(default_factory=lambda: torch.zeros(0))
    at_evaluation: str = ""
    """The record as it is after the evaluation, before anything is saved."""

    def record(self) -> Mapping[str, LayerRecord]:
        return read_record(self.folder / "record.txt").by_name


@pytest.fixture(scope="module", autouse=True)
def _one_export() -> Iterator[None]:
    with remember_exports(network):
        yield


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)
        run_of.cache_clear()


def begin_as_recorded(model: nn.Module) -> None:
    """Let IFMR look for a range without an offset at first, as AMCT does, though the grid of data has one."""
    for name, layer in retrain_layers(model).items():
        old = layer.quant_module.range
        settings = IfmrSettings(bits=old.bits, with_offset=False)
        layer.quant_module.range = UlqState(
            bits=old.bits, fixed_min=old.fixed_min, batches=old.batches, settings=settings, name=name
        )


@cache
def run_of(case: str, folder: Path) -> Run:
    config, (_, _, labels), batches = FOLDER / "qat" / case / "config.json", recorded_training(case), images()
    run = Run(folder / case)
    run.folder.mkdir()
    record = run.folder / "record.txt"
    model = create_quant_retrain_model(str(config), digits().train(), str(record), torch.zeros(16, 1, 8, 8))
    begin_as_recorded(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for step in range(4):
        out = model(torch.from_numpy(batches["calib"][step]))
        cross_entropy(out, torch.tensor(labels[step])).backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        gradients = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
        optimizer.step()
        state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        run.steps.append(Step(out.detach(), gradients, state))
        optimizer.zero_grad()
    model.eval()
    run.evaluated = model(torch.from_numpy(batches["calib"][0])).detach()
    run.at_evaluation = record.read_text()
    save_quant_retrain_model(str(config), model, str(record), str(run.folder / "net"), torch.zeros(16, 1, 8, 8))
    return run


def close(found: Tensor, wanted: NDArray[np.float32], part: float) -> bool:
    """Whether nothing differs by more than a part of the largest number; or by 1e-7, which is 0 here."""
    difference = float(np.abs(found.detach().numpy() - wanted).max())
    return difference <= part * float(np.abs(wanted).max()) + 1e-7


def is_fixed(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a parameter is a lower end that stays 0, which in the recording wanders and is put back in each pass."""
    layer = name.partition(".")[0]
    said: dict[str, Any] = config[layer]["retrain_data_config"] if layer in config else {}
    return name.endswith("acts_clip_min") and bool(said.get("fixed_min", layer in ("conv2", "dw", "conv3", "fc2")))


@pytest.mark.parametrize("case", CASES)
def test_the_config_is_the_recorded_one(case: str, tmp_path: Path) -> None:
    given = FOLDER / "qat" / case / "quant.cfg"
    defined = str(given) if given.exists() else None
    create_quant_retrain_config(str(tmp_path / "c.json"), digits(), torch.zeros(16, 1, 8, 8), defined)
    text = (FOLDER / "qat" / case / "config.json").read_text(encoding="utf-8")
    if case == "qat_a8w4":  # AMCT's override of a type switches on what a list skips; here a list wins over all
        head, fc2, tail = text.partition('"fc2"')
        text = head + fc2 + tail.replace("true", "false", 1)
    assert json.dumps(json.loads((tmp_path / "c.json").read_text())) == json.dumps(json.loads(text))


@pytest.mark.parametrize("case", CASES)
def test_four_steps_are_the_recorded_ones(case: str, folder: Path) -> None:
    run, (config, arrays, _) = run_of(case, folder), recorded_training(case)
    compared = 0
    for number, step in enumerate(run.steps):
        assert np.abs(step.out.numpy() - arrays[f"step{number}/out"]).max() <= CASES[case]
        is_set = number + 1 >= config["batch_num"]  # clips learn when they are set, the recorded ones before it too
        for name, found in step.gradients.items():
            wanted, is_clip = arrays.get(f"step{number}/grad/{name}"), name.endswith(CLIPS)
            assert is_set or not is_clip
            if name == SHIFTED:
                assert found.abs().max() < 1e-5
            elif wanted is not None and not (is_clip and case == "qat_int16"):
                assert close(found, wanted, 1e-2 if is_clip else 4e-4), f"{name}, step {number}"
                compared += 1
        for name, found in step.state.items():
            wanted = arrays.get(f"step{number}/{name}")
            if wanted is not None and (is_set or not name.endswith(CLIPS)) and not is_fixed(name, config):
                assert close(found, wanted, 1e-5), f"{name}, step {number}"
    assert compared >= 28


@pytest.mark.parametrize("case", CASES)
def test_the_evaluation_and_its_record_are_the_recorded_ones(case: str, folder: Path) -> None:
    run, (_, arrays, _) = run_of(case, folder), recorded_training(case)
    ours, theirs = run.record(), read_record(FOLDER / "qat" / case / "record.txt").by_name
    assert run.at_evaluation == (run.folder / "record.txt").read_text()
    assert list(ours) == list(theirs)
    if case != NEGATIVE:
        assert np.abs(run.evaluated.numpy() - arrays["eval_out"]).max() <= CASES[case]
    for name, wanted in theirs.items():
        (data,), (wanted_data,) = ours[name].inputs, wanted.inputs
        tolerance = 1e-5 if case == "qat_int16" else 1e-6
        np.testing.assert_allclose(data.scale or 0, wanted_data.scale or 0, rtol=tolerance, err_msg=name)
        assert (data.offset, data.bits, ours[name].bits_w) == (wanted_data.offset, wanted_data.bits, wanted.bits_w)
        same = [True] * len(wanted.scale_w)
        if (case, name) == (NEGATIVE, "conv1"):
            same[3] = False
        found, factors = np.array(ours[name].scale_w), np.array(wanted.scale_w)
        np.testing.assert_allclose(found[same], factors[same], rtol=1e-6, err_msg=name)


def integers(path: Path) -> dict[str, list[NDArray[Any]]]:
    """The integer weights and biases of each layer, by its name."""
    model = onnx.load(str(path))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {
        node.name: [constants[name] for name in node.input[1:] if name in constants]
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
    }


@pytest.mark.parametrize("case", [case for case in CASES if case != NEGATIVE])
def test_the_saved_models_are_the_recorded_ones(case: str, folder: Path) -> None:
    run, there = run_of(case, folder), FOLDER / "qat" / case
    ours, theirs = integers(run.folder / "net_deploy_model.onnx"), integers(there / "deploy.onnx")
    assert ours.keys() == theirs.keys()
    for name, arrays in theirs.items():
        for mine, wanted in zip(ours[name], arrays, strict=True):
            assert (mine.dtype, mine.shape) == (wanted.dtype, wanted.shape), name
            difference = np.abs(mine.astype(np.int64) - wanted)
            limit = 1 + 1e-5 * np.abs(wanted) if mine.dtype == np.int32 else 0
            assert (difference <= limit).all(), name
    kinds = [
        [
            node.op_type
            for node in onnx.load(str(path)).graph.node
            if node.op_type.startswith(("Ascend", "Conv", "Gemm"))
        ]
        for path in (run.folder / "net_deploy_model.onnx", there / "deploy.onnx")
    ]
    assert kinds[0] == kinds[1]


def outputs(model: ModelProto, folder: Path) -> NDArray[np.float32]:
    (folder / "other.onnx").write_bytes(model.SerializeToString())
    (out,) = run_model(folder / "other.onnx", {"x": images()["calib"][0]}).values()
    return np.asarray(out, np.float32)


@pytest.mark.parametrize(("case", "rows"), [("qat_default", 6), ("qat_arq_pertensor", 5), ("qat_a8w4", 13)])
def test_the_fake_quant_model_differs_from_the_trained_one_by_the_rounding_of_biases_alone(
    case: str, rows: int, folder: Path
) -> None:
    """`rows` are the outputs that differ by more than 1e-3, as many as in the recording, whose notes give no cause.

    A bias is an integer on the grid scale_w*scale_d in the saved models, and a float in training.
    """
    run, evaluated = run_of(case, folder), run_of(case, folder).evaluated.numpy()
    assert not (run.folder / "net_qdq_model.onnx").exists()
    model = onnx.load(str(run.folder / "net_fake_quant_model.onnx"))
    difference = np.abs(outputs(model, folder) - evaluated).max(axis=1)
    assert (difference > 1e-3).sum() == rows and difference.max() < 0.07
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    biases, record = folded_biases(case, folder), run.record()
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            factors = record[node.name]
            exact = biases[node.name] / (np.array(factors.scale_w) * (factors.inputs[0].scale or 1))
            constants[node.input[2]].CopyFrom(numpy_helper.from_array(exact.astype(np.float32), node.input[2]))
    assert np.abs(outputs(model, folder) - evaluated).max() < 1e-5


def folded_biases(case: str, folder: Path) -> dict[str, NDArray[np.float64]]:
    """The bias of each layer of a trained network that has one, with the BatchNorm behind it."""
    state = {name: tensor.double().numpy() for name, tensor in run_of(case, folder).steps[-1].state.items()}
    found: dict[str, NDArray[np.float64]] = {}
    for name in ("conv1", "conv2", "dw", "conv3", "fc1"):
        bias = state.get(f"{name}.quant_module.replaced_module.bias", np.zeros(1))
        if f"{name}.bn_module.weight" in state:
            parts = ("weight", "bias", "running_mean", "running_var")
            gamma, beta, mean, variance = (state[f"{name}.bn_module.{part}"] for part in parts)
            bias = (bias - mean) * gamma / np.sqrt(variance + 1e-5) + beta
        found[name] = bias
    return found


def test_a_state_that_amct_saved_is_restored(tmp_path: Path) -> None:
    _, arrays, _ = recorded_training("qat_default")
    names = (name.removeprefix("step3/") for name in arrays if name.startswith("step3/") and "/grad/" not in name)
    state = {name: torch.tensor(arrays[f"step3/{name}"]) for name in names if name != "out"}
    torch.save({"epoch": 3, "net": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "m.pth")
    config = str(FOLDER / "qat/qat_default/config.json")
    inputs = torch.zeros(16, 1, 8, 8)
    model = restore_quant_retrain_model(
        config, digits(), str(tmp_path / "r.txt"), inputs, str(tmp_path / "m.pth"), "net"
    )
    found = model.eval()(torch.from_numpy(images()["calib"][0]))
    assert np.abs(found.detach().numpy() - arrays["eval_out"]).max() < 2e-5


def accuracy(model: nn.Module, config: str, folder: Path) -> float:
    """The part of the test images that the saved fake-quant model of a trained one is right about."""
    prefix, inputs = str(folder / "net"), torch.zeros(16, 1, 8, 8)
    save_quant_retrain_model(
        config, model, str(folder / "record.txt"), prefix, inputs, ["x"], ["y"], {"x": {0: "n"}, "y": {0: "n"}}
    )
    data = images()
    scores = run_model(folder / "net_fake_quant_model.onnx", {"x": data["test_x"]})["y"]
    return float((scores.argmax(axis=1) == data["test_y"]).mean())


def test_training_in_4_bits_recovers_what_quantization_lost(tmp_path: Path) -> None:
    """Before the first step the model is one of post-training quantization: ARQ for weights, IFMR for data."""
    batches, labels = torch.from_numpy(images()["calib"]), torch.tensor(recorded_training("qat_default")[2])
    config, inputs = str(tmp_path / "config.json"), torch.zeros(16, 1, 8, 8)
    (tmp_path / "p.cfg").write_text("batch_num: 4 retrain_weight_quant_config { arq_retrain { dst_type: INT4 } }")
    create_quant_retrain_config(config, digits(), inputs, str(tmp_path / "p.cfg"))
    model = create_quant_retrain_model(config, digits(), str(tmp_path / "record.txt"), inputs)
    for batch in batches:
        model(batch)
    at_first = accuracy(model, config, tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train()
    for step in range(40):
        cross_entropy(model(batches[step % 4]), labels[step % 4]).backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        optimizer.step()
        optimizer.zero_grad()
    at_last = accuracy(model, config, tmp_path)
    of_amct = json.loads((FOLDER / "ptq/arq_4bit/info.json").read_text())["fakequant_test_acc"]
    assert of_amct == pytest.approx(0.975) and at_first == pytest.approx(0.975, abs=0.003)
    assert at_last > max(at_first, of_amct)


def test_data_of_four_bits_are_refused(tmp_path: Path) -> None:
    rejects = json.loads((FOLDER / "rejects.json").read_text())
    (case,) = (each for each in rejects if each["flow"] == "qat")
    policy, config = tmp_path / "p.cfg", tmp_path / "c.json"
    policy.write_text(case["cfg"])
    assert case["error"].startswith("ValueError")
    with pytest.raises(ValueError, match="data of type INT4 are accepted by the language, but not built"):
        create_quant_retrain_config(str(config), digits(), torch.zeros(16, 1, 8, 8), str(policy))
    assert not config.exists()


def test_the_grid_that_a_training_begins_with_is_finer_than_the_recorded_one(tmp_path: Path) -> None:
    """Why `begin_as_recorded` is there: AMCT looks for a range without an offset, and then has a grid with one."""
    config, record = str(FOLDER / "qat/qat_default/config.json"), str(tmp_path / "record.txt")
    model = create_quant_retrain_model(config, digits().eval(), record, torch.zeros(16, 1, 8, 8))
    model(torch.from_numpy(images()["calib"][0]))
    ours, theirs = read_record(record).by_name, read_record(FOLDER / "qat/qat_default/record.txt").by_name
    for name in ("conv1", "fc1"):  # the layers that read no ReLU; in the others both ranges begin at 0
        (mine,), (wanted,) = ours[name].inputs, theirs[name].inputs
        assert (mine.offset, wanted.offset) == (-128, 0)
        assert 0.45 < (mine.scale or 0) / (wanted.scale or 1) < 0.6


def test_a_learned_scale_that_a_step_takes_below_zero_is_in_the_recording(folder: Path) -> None:
    """Why the recorded network with learned scales is so poor: we take the scale of before in its place."""
    after, before = (recorded_training(NEGATIVE)[1][f"step{step}/{SCALES}"] for step in (3, 2))
    assert (after < 0).tolist() == [False, False, False, True, False, False, False, False]
    assert usable_scale(after, before).tolist() == np.where(after < 0, before, after).tolist()
    run = run_of(NEGATIVE, folder)
    _, arrays, labels = recorded_training(NEGATIVE)
    ours, theirs = run.evaluated.numpy(), arrays["eval_out"]
    right = [int((out.argmax(axis=1) == labels[0]).sum()) for out in (ours, theirs)]
    assert right[0] > right[1]
