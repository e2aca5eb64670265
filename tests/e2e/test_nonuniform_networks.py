"""Non-uniform weights of real networks through the command line, by the policy that the manual gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.compat import caffe
from amctc.frontends import load_model
from amctc.frontends.caffe.weights import read_weights
from amctc.quant.arq import quantize_weights
from amctc.quant.snq_settings import INIT_ALGOS, SnqSettings
from amctc.text.proto_schema import load_schema
from tests.e2e.clustered_nets import (
    CLUSTERED,
    FILE,
    Net,
    assert_the_models_agree,
    assert_the_record_gives_the_same_files,
    batches_of,
    clustered_layers,
    deploy,
    fake_quant,
)
from tests.e2e.command import succeed
from tests.e2e.real_data import BATCH, Network, recorded, resnet20, squeezenet
from tests.policy.test_seed_samples import BN_UPDATE, COMMON, OVERRIDES, sample
from tests.quant.clustered_layer import quantize_weights_snq
from tests.runtime.batch_norm_reference import Blobs, difference, step
from tests.shared_files import needs_assets, needs_golden, needs_seeds

SAMPLES = 64


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def digits(desk: Path) -> Net:
    return of_network(recorded("mnist_bn"), desk)


def of_network(network: Network, folder: Path, samples: int = SAMPLES) -> Net:
    """A real network with the first samples of its data."""
    assert not isinstance(network.data, str) and isinstance(network.labels, np.ndarray)
    assert network.preprocess is not None
    np.savez(folder / "data.npz", data=network.data["data"][:samples], label=network.labels[:samples])
    how = "--batch-size", str(BATCH), "--preprocess", network.preprocess
    return Net(*network.files, folder / "data.npz", how)


def manual() -> str:
    """The manual's snq_quant.cfg as it stands there, in its three parts."""
    return "".join(sample(line).text for line in (BN_UPDATE, COMMON, OVERRIDES))


def renewed_by_hand(net: Net, init: str, size: int, count: int, uniform: set[str]) -> Mapping[str, Blobs]:
    """The three blobs of each BatchNorm, from the float net with fake-quantized weights put into it.

    Of a net of convolutions alone whose Scale factors are positive or negative, as the layer `<name>/scale` says.
    """
    text = net.model.read_text(encoding="utf-8").replace(
        "batch_norm_param {", "batch_norm_param { use_global_stats: false"
    )
    assert "use_global_stats: false" in text
    # A prototxt of one sample a batch says so in its first dimension.
    by_hand = Path("by_hand.prototxt")
    by_hand.write_text(text.replace("dim: 1", f"dim: {size}", 1), encoding="utf-8")
    plain = caffe.Net(str(by_hand), str(net.weights), caffe.TEST)
    for name, blobs in plain.params.items():
        weight = blobs[0].data
        if weight.ndim < 2:
            continue
        rows = weight.reshape(len(weight), -1).copy()
        if name in uniform:
            axis = None if weight.ndim == 2 else 0
            weight[...] = quantize_weights(rows, axis=axis).dequantize().reshape(weight.shape)
            continue
        largest = np.abs(rows).max(axis=1)
        lower = rows.min(axis=1) < -rows.max(axis=1)
        keeps_sign = plain.params[f"{name}/scale"][0].data > 0
        scale = (largest / np.where(lower & keeps_sign, np.float32(128), np.float32(127))).astype(np.float32)
        found = quantize_weights_snq(rows, axis=0, settings=SnqSettings(init_algo=init), scale=scale)
        weight[...] = (found.values * scale[:, np.newaxis]).reshape(weight.shape)
    stored = read_weights(net.weights)
    names = [name for name in plain.params if name.endswith("/bn")]
    found_by_name: dict[str, Blobs] = {name: stored[name] for name in names}
    for batch in batches_of(net, size, count):
        plain.blobs["data"].data[...] = batch
        begin = "data"
        for name in names:
            linear = name.removesuffix("/bn")
            plain.forward(start=begin, end=linear)  # up to what the BatchNorm, which works in place, reads
            moved = step(found_by_name[name], plain.blobs[linear].data, 0.95)  # the net's own fraction wins
            found_by_name[name] = [array.astype(np.float32) for array in moved]
            begin = name
    return found_by_name


@needs_golden
@needs_seeds
def test_the_manuals_policy_runs_unchanged_on_a_network_that_caffe_trained(digits: Net) -> None:
    assert "AM512" in digits.compile(manual())
    assert clustered_layers() == {"conv2_dw", "conv2_pw", "conv3"}
    assert set(read_weights(FILE)) == {"conv1/bn", "conv2_dw/bn", "conv2_pw/bn", "conv3/bn"}
    assert_the_models_agree({"data": next(batches_of(digits, BATCH, 1))})
    before = top1(digits, (digits.model, digits.weights))
    after = [top1(digits, files) for files in (deploy(), fake_quant())]
    assert before > 0.9
    assert min(after) >= before - 0.04


def top1(net: Net, files: tuple[Path, Path]) -> float:
    """What `amctc eval` finds on the samples of a net."""
    told = json.loads(succeed("eval", *files, "-d", net.data, "--labels", "label", *net.how, "--json"))
    assert told["count"] == SAMPLES
    return float(told["top1"])


@needs_assets
@needs_seeds
def test_the_manuals_policy_runs_unchanged_on_resnet20_and_its_record_gives_the_same_files(desk: Path) -> None:
    net = of_network(resnet20(), desk)
    net.compile(manual())
    convolutions = {node.name for node in load_model(net.model, net.weights).nodes if node.type == "Convolution"}
    assert clustered_layers() == convolutions - {"conv1"}
    assert_the_models_agree({"data": next(batches_of(net, BATCH, 1))})
    assert_the_record_gives_the_same_files(net, FILE)


@needs_golden
@needs_seeds
@pytest.mark.parametrize("init", INIT_ALGOS)
def test_the_statistics_are_those_that_a_run_of_caffe_gives(init: str, digits: Net) -> None:
    digits.compile(manual().replace("'gaussian'", f"'{init}'").replace(": 30", ": 10"))
    expected = renewed_by_hand(digits, init, BATCH, 10, uniform={"conv1", "fc"})
    found = read_weights(FILE)
    assert found.keys() == expected.keys()
    for name, blobs in expected.items():
        for got, wanted in zip(found[name], blobs, strict=True):
            assert difference(got, wanted) <= 1e-5, name


@needs_assets
def test_the_weights_of_squeezenet_take_no_more_than_fourteen_hundredths_of_the_float_file(desk: Path) -> None:
    network = squeezenet()
    shape = (3, 227, 227)
    drawn = np.random.default_rng(0).normal(scale=50, size=(1, *shape)).astype(np.float32)
    np.savez("data.npz", data=drawn)
    Net(*network.files, Path("data.npz"), ("--batch-size", "1")).compile(CLUSTERED)
    names = {node.name for node in load_model(*network.files).nodes if "weight" in node.weights}
    assert clustered_layers() == names
    assert stored_weights(deploy()[1]) <= 0.14 * stored_weights(network.files[1])


def stored_weights(path: Path) -> int:
    """The bytes that the weight blobs of the linear layers of squeezenet, the first of each, take in a caffemodel."""
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    message.ParseFromString(path.read_bytes())
    found = [each.blobs[0].ByteSize() for each in message.layer if len(each.blobs) == 2]
    assert len(found) == 26
    return sum(found)
