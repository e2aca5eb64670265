"""A network as the solver uses it: losses, parameters, sharing, and where gradients go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from amctc.dialects.caffe.params import params
from amctc.quant.batch_statistics import RunningStatistics, updated_statistics
from amctc.training.network import Network
from tests.nets import data, layer
from tests.training.nets import gradient, has_gradient, read_net

X = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
T = np.random.default_rng(2).standard_normal((4, 2)).astype(np.float32)
TWO_INPUTS = data("4 3", "x") + data("4 2", "t")


def fc(name: str, bottom: str, more: str = "", outputs: int = 2, top: str = "") -> str:
    return layer(name, "InnerProduct", bottom, top or name, f"{more} inner_product_param {{ num_output: {outputs} }}")


def loss(name: str, bottoms: str, more: str = "") -> str:
    return layer(name, "EuclideanLoss", bottoms, name, more)


def test_the_loss_is_the_sum_by_loss_weight_and_its_gradient_that_of_each(tmp_path: Path) -> None:
    text = TWO_INPUTS + fc("a", "x") + loss("one", "a t") + loss("half", "a t", "loss_weight: 0.5")
    network = Network(read_net(tmp_path, text), phase="TRAIN")
    result = network.forward({"x": X, "t": T})
    network.backward()
    alone = result.outputs["one"].item()
    assert result.loss.item() == pytest.approx(1.5 * alone, rel=1e-6)
    a = X @ network.weights()["a"]["weight"].T + network.weights()["a"]["bias"]
    np.testing.assert_allclose(gradient(network, "a", "bias"), 1.5 * (a - T).sum(0) / 4, rtol=1e-5)


def test_a_blob_that_is_no_loss_counts_with_the_sum_of_its_elements(tmp_path: Path) -> None:
    text = data("4 3", "x") + fc("a", "x") + layer("r", "ReLU", "a", "r", "loss_weight: 2")
    result = Network(read_net(tmp_path, text), phase="TRAIN").forward({"x": X})
    assert result.loss.item() == pytest.approx(2 * result.outputs["r"].sum().item(), rel=1e-6)


def test_parameters_stand_in_caffes_order_with_their_rates(tmp_path: Path) -> None:
    rates = "param { lr_mult: 1 decay_mult: 2 } param { lr_mult: 0 }"
    normal = layer("bn", "BatchNorm", "a", "bn")
    network = Network(read_net(tmp_path, TWO_INPUTS + fc("a", "x", rates) + normal + loss("l", "bn t")), phase="TRAIN")
    found = [(p.layer, p.role, p.lr_mult, p.decay_mult, p.tensor.requires_grad) for p in network.parameters]
    assert found == [
        ("a", "weight", 1, 2, True),
        ("a", "bias", 0, 1, False),
        ("bn", "mean", 0, 1, False),
        ("bn", "variance", 0, 1, False),
        ("bn", "factor", 0, 1, False),
    ]


def test_a_shared_parameter_is_one_and_its_gradient_the_sum(tmp_path: Path) -> None:
    named = 'param { name: "w" } param { name: "b" }'
    shared = TWO_INPUTS + fc("a", "x", named) + fc("b", "x", named) + loss("l", "a t") + loss("m", "b t")
    apart = shared.replace(named, "")
    graph = read_net(tmp_path, apart)
    graph.node("b").weights.update(graph.node("a").weights)
    separate = Network(graph, phase="TRAIN")
    together = Network(read_net(tmp_path, shared), phase="TRAIN")
    for network in (separate, together):
        network.forward({"x": X, "t": T})
        network.backward()
    assert [(p.layer, p.name) for p in together.parameters] == [("a", "w"), ("a", "b")]
    both = gradient(separate, "a", "weight") + gradient(separate, "b", "weight")
    torch.testing.assert_close(gradient(together, "b", "weight"), both)


def test_propagate_down_stops_the_gradient_before_the_layer_alone(tmp_path: Path) -> None:
    text = TWO_INPUTS + fc("a", "x", outputs=3) + fc("b", "a", "propagate_down: false") + loss("l", "b t")
    network = Network(read_net(tmp_path, text), phase="TRAIN")
    network.forward({"x": X, "t": T})
    network.backward()
    assert has_gradient(network, "b", "weight") and not has_gradient(network, "a", "weight")


def test_a_rate_of_0_leaves_a_blob_without_gradient_but_not_what_lies_before(tmp_path: Path) -> None:
    still = "param { lr_mult: 0 } param { lr_mult: 0 }"
    text = TWO_INPUTS + fc("a", "x", outputs=3) + fc("b", "a", still) + loss("l", "b t")
    network = Network(read_net(tmp_path, text), phase="TRAIN")
    network.forward({"x": X, "t": T})
    network.backward()
    assert has_gradient(network, "a", "weight") and not has_gradient(network, "b", "weight")


def test_gradients_of_passes_are_added_until_they_are_forgotten(tmp_path: Path) -> None:
    network = Network(read_net(tmp_path, TWO_INPUTS + fc("a", "x") + loss("l", "a t")), phase="TRAIN")
    for _ in range(2):
        network.forward({"x": X, "t": T})
        network.backward()
    twice = gradient(network, "a", "weight").clone()
    network.zero_gradients()
    network.forward({"x": X, "t": T})
    network.backward()
    torch.testing.assert_close(twice, 2 * gradient(network, "a", "weight"))


def test_a_pass_is_gone_back_once(tmp_path: Path) -> None:
    network = Network(read_net(tmp_path, TWO_INPUTS + fc("a", "x") + loss("l", "a t")), phase="TRAIN")
    network.forward({"x": X, "t": T})
    network.backward()
    with pytest.raises(ValueError, match="no recorded pass"):
        network.backward()


def test_a_test_network_follows_its_train_network_by_layer_name(tmp_path: Path) -> None:
    train = Network(read_net(tmp_path, TWO_INPUTS + fc("a", "x") + loss("l", "a t")), phase="TRAIN")
    text = data("4 3", "x") + fc("a", "x") + fc("own", "a")
    test = Network(read_net(tmp_path, text, "TEST", seed=7), phase="TEST", shared=train)
    with torch.no_grad():
        train.parameters[0].tensor.fill_(3)
    a = test.forward({"x": X}, blobs=["a"]).blobs["a"]
    expected = 3 * X.sum(1, keepdims=True) + train.weights()["a"]["bias"]
    np.testing.assert_allclose(a, expected, rtol=1e-5)
    assert test.table.weights["a"]["weight"].tensor is train.parameters[0].tensor
    assert not a.requires_grad


def test_statistics_of_a_train_network_move_and_its_test_network_uses_them(tmp_path: Path) -> None:
    text = data("4 3", "x") + layer("bn", "BatchNorm", "x", "bn", "batch_norm_param { moving_average_fraction: 0.9 }")
    graph = read_net(tmp_path, text)
    before = RunningStatistics(
        *(graph.node("bn").weights[role].astype(np.float32) for role in ("mean", "variance", "factor"))
    )
    after = updated_statistics(before, X, 0.9)
    train = Network(graph, phase="TRAIN")
    test = Network(read_net(tmp_path, text, "TEST", seed=5), phase="TEST", shared=train)
    train.forward({"x": X})
    found = train.weights()["bn"]
    np.testing.assert_allclose(found["mean"], after.mean, rtol=1e-5)
    np.testing.assert_allclose(found["variance"], after.variance, rtol=1e-5)
    np.testing.assert_allclose(found["factor"], after.factor, rtol=1e-6)
    eps = float(params(graph.node("bn"), "batch_norm_param").eps)
    expected = (X - after.mean / after.factor) / np.sqrt(after.variance / after.factor + eps)
    np.testing.assert_allclose(test.forward({"x": X}).outputs["bn"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(test.weights()["bn"]["mean"], found["mean"])


def test_one_value_a_channel_is_its_own_mean(tmp_path: Path) -> None:
    network = Network(read_net(tmp_path, data("1 3", "x") + layer("bn", "BatchNorm", "x", "bn")), phase="TRAIN")
    before = network.weights()["bn"]
    result = network.forward({"x": X[:1]})
    np.testing.assert_array_equal(result.outputs["bn"], np.zeros((1, 3)))
    np.testing.assert_allclose(network.weights()["bn"]["mean"], before["mean"] * np.float32(0.999) + X[0], rtol=1e-6)


def test_weights_go_back_into_the_graph_and_out_of_it(tmp_path: Path) -> None:
    graph = read_net(tmp_path, TWO_INPUTS + fc("a", "x", 'param { name: "w" }') + fc("b", "x", 'param { name: "w" }'))
    network = Network(graph, phase="TRAIN")
    with torch.no_grad():
        network.parameters[0].tensor.fill_(3)
    assert graph.node("a").weights["weight"].max() < 3
    network.write_back()
    assert graph.node("b").weights["weight"] is graph.node("a").weights["weight"]
    assert (graph.node("a").weights["weight"] == 3).all()
    with torch.no_grad():
        network.parameters[0].tensor.fill_(4)
    network.read_weights()
    assert (network.weights()["b"]["weight"] == 3).all()


def test_a_batch_may_be_shorter_and_is_copied(tmp_path: Path) -> None:
    network = Network(read_net(tmp_path, TWO_INPUTS + fc("a", "x") + loss("l", "a t")), phase="TRAIN")
    batch = X[:2].copy()
    network.forward({"x": batch, "t": T[:2]})
    batch[:] = 0
    network.backward()
    overwritten = gradient(network, "a", "weight").clone()
    network.zero_gradients()
    network.forward({"x": torch.from_numpy(X[:2]), "t": T[:2]})
    network.backward()
    torch.testing.assert_close(overwritten, gradient(network, "a", "weight"), rtol=0, atol=0)


def test_two_networks_of_one_graph_give_the_same_bits(tmp_path: Path) -> None:
    text = TWO_INPUTS + fc("a", "x", outputs=8) + layer("d", "Dropout", "a", "d") + fc("b", "d") + loss("l", "b t")
    graph = read_net(tmp_path, text)
    found: list[torch.Tensor] = []
    for _ in range(2):
        network = Network(graph, phase="TRAIN", seed=3)
        network.forward({"x": X, "t": T})
        network.backward()
        found.append(gradient(network, "a", "weight"))
    assert torch.equal(*found)


def test_dropout_keeps_the_mean_in_training_and_everything_in_testing(tmp_path: Path) -> None:
    text = data("100 50", "x") + layer("d", "Dropout", "x", "d", "dropout_param { dropout_ratio: 0.2 }")
    ones = {"x": np.ones((100, 50), np.float32)}
    train = Network(read_net(tmp_path, text), phase="TRAIN")
    first = train.forward(ones).outputs["d"]
    assert set(np.unique(first)) == {0.0, 1.25}
    assert float(first.mean()) == pytest.approx(1, abs=0.03)
    assert not torch.equal(first, train.forward(ones).outputs["d"])
    train.seed(0)
    assert torch.equal(first, train.forward(ones).outputs["d"])
    test = Network(read_net(tmp_path, text, "TEST"), phase="TEST")
    assert torch.equal(test.forward(ones).outputs["d"], torch.ones(100, 50))


def test_a_recurrent_layer_goes_on_from_the_batch_before_until_it_forgets(tmp_path: Path) -> None:
    text = (
        data("2 3 4", "x") + data("2 3", "cont") + layer("r", "RNN", "x cont", "r", "recurrent_param { num_output: 5 }")
    )
    graph = read_net(tmp_path, text)
    x = np.random.default_rng(3).standard_normal((4, 3, 4)).astype(np.float32)
    cont = np.ones((4, 3), np.float32)
    network = Network(graph, phase="TRAIN")
    halves = [network.forward({"x": x[part], "cont": cont[part]}).outputs["r"] for part in (slice(2), slice(2, 4))]
    network.forget()
    first = network.forward({"x": x[:2], "cont": cont[:2]}).outputs["r"]
    assert torch.equal(first, halves[0])
    cont[0] = 0
    again = Network(graph, phase="TRAIN").forward({"x": x, "cont": cont}).outputs["r"]
    torch.testing.assert_close(torch.cat(halves), again)
