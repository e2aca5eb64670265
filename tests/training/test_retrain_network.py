"""A network made by insert-retrain-quant is trained: ranges begin, are learned, and weights stay on their grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from amctc.ir import Graph
from amctc.quant.ifmr import IfmrSettings, search
from amctc.runtime.executor import Executor
from amctc.testing import run_passes
from amctc.training.network import Network
from tests.nets import conv, data, layer, make_net
from tests.training.nets import gradient, has_gradient

SHAPE = (4, 2, 5, 5)
TWO_BATCHES = "batch_num: 2 retrain_data_quant_config { }"
RATE = 1e-3


def retrained(folder: Path, policy: str | None = None) -> Graph:
    text = (
        data(" ".join(map(str, SHAPE)))
        + conv("first", "data", 3)
        + layer("relu", "ReLU", "first", "first")
        + conv("up", "first", 4, 2, type="Deconvolution")
        + layer("ip", "InnerProduct", "up", "ip", "inner_product_param { num_output: 3 }")
    )
    graph = make_net(folder, text)
    run_passes(graph, "insert-retrain-quant", policy)
    return graph


def batch(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    return {"data": np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)}


def clips(network: Network, layer: str) -> list[float]:
    weights = network.table.weights[f"{layer}.retrain_data"]
    return [float(weights[role].tensor.detach()) for role in ("clip_max", "clip_min")]


def step(network: Network, seed: int = 0) -> float:
    """One step towards an output of 1; gives the squared distance before it."""
    away = network.forward(batch(seed)).outputs["ip"].detach() - 1
    network.zero_gradients()
    network.backward({"ip": away})
    for parameter in network.parameters:
        if parameter.tensor.grad is not None:
            with torch.no_grad():
                parameter.tensor.sub_(RATE * parameter.tensor.grad)
    network.mend_clips()
    return float((away**2).mean())


def test_ranges_begin_with_what_ifmr_finds_in_the_first_batch(tmp_path: Path) -> None:
    network = Network(retrained(tmp_path), phase="TRAIN")
    network.forward(batch())
    found = search(batch()["data"], IfmrSettings())
    assert np.allclose(clips(network, "first"), [found.clip_max, found.clip_min], rtol=1e-6)
    assert clips(network, "up")[1] == 0 < clips(network, "up")[0]
    before = clips(network, "first")
    network.forward({"data": 10 * batch()["data"]})
    assert clips(network, "first") == before


def test_ranges_are_not_learned_before_the_batches_that_a_policy_asks_for(tmp_path: Path) -> None:
    network = Network(retrained(tmp_path, TWO_BATCHES), phase="TRAIN")
    step(network)
    assert clips(network, "first") == [0, 0] and not has_gradient(network, "first.retrain_data", "clip_max")
    step(network, 1)
    found = search(np.concatenate([batch(seed)["data"] for seed in range(2)]), IfmrSettings())
    assert has_gradient(network, "first.retrain_data", "clip_max")
    assert abs(clips(network, "first")[0] - found.clip_max) < 0.2 * found.clip_max


def test_clips_and_weights_have_gradients_and_the_fixed_end_has_none(tmp_path: Path) -> None:
    network = Network(retrained(tmp_path), phase="TRAIN")
    result = network.forward(batch())
    network.backward({"ip": torch.ones_like(result.outputs["ip"])})
    for name in ("first", "up", "ip"):
        assert gradient(network, name, "weight").abs().max() > 0
        assert gradient(network, f"{name}.retrain_data", "clip_max").abs() > 0
    assert gradient(network, "first.retrain_data", "clip_min") != 0
    assert gradient(network, "up.retrain_data", "clip_min") == 0


def test_it_learns_and_computes_what_the_runtime_computes(tmp_path: Path) -> None:
    graph = retrained(tmp_path)
    network = Network(graph, phase="TRAIN")
    distances = [step(network) for _ in range(40)]
    assert distances[-1] < 0.5 * distances[0]
    found = Network(graph, phase="TEST", shared=network).forward(batch(5)).outputs["ip"].detach().numpy()
    network.write_back()
    (wanted,) = Executor(graph).run(batch(5)).values()
    # A value halfway between two steps may go either way: the runtime multiplies by the reciprocal of the scale.
    assert np.abs(found - wanted).max() <= 0.02 * np.abs(wanted).max()
    assert graph.node("first.retrain_data").weights["clip_max"].shape == (1,)


@pytest.mark.parametrize("spoilt", [(-1.0, 2.0), (float("nan"), 0.0)])
def test_clips_that_a_step_has_spoilt_are_put_back(tmp_path: Path, spoilt: tuple[float, float]) -> None:
    network = Network(retrained(tmp_path), phase="TRAIN")
    network.forward(batch())
    before = clips(network, "first")
    weights = network.table.weights["first.retrain_data"]
    for role, value in zip(("clip_max", "clip_min"), spoilt, strict=True):
        with torch.no_grad():
            weights[role].tensor.fill_(value)
    network.mend_clips()
    assert clips(network, "first") == before


def test_phase_test_begins_no_ranges(tmp_path: Path) -> None:
    network = Network(retrained(tmp_path), phase="TEST")
    network.forward(batch())
    assert clips(network, "first") == [0, 0]
