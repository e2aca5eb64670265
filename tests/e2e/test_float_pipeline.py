"""The `float` pipeline on real networks: fewer layers, the same numbers; and in front of `ptq`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amctc
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.runtime.executor import Executor
from amctc.testing import random_feeds
from tests.nets import conv, data, layer, write_net
from tests.passes.clean_ups import clean, write_and_read
from tests.shared_files import ASSETS, needs_assets

# Layers before and after.
NETWORKS = {
    "cifar10_full_v1/deploy": (14, 14),
    "cifar10_resnet20/deploy": (95, 53),
    "hyperlpr_mininet_ssd/mininet_ssd_v1": (120, 120),
    "mnist_lenet/deploy": (9, 9),
    "mtcnn/det1": (11, 11),
    "mtcnn/det3": (19, 18),
    "silero_lstm/silero_lstm": (6, 6),
    "squeezenet_v1.0_dc/deploy": (66, 65),
    "ultraface_slim_320/slim-320": (96, 96),
    "waifu2x_upconv7/deploy": (14, 14),
}


def real(name: str) -> Graph:
    model = ASSETS / "caffe" / f"{name}.prototxt"
    own = model.with_suffix(".caffemodel")
    weights = own if own.exists() else next(model.parent.glob("*.caffemodel"))
    return load_model(model, weights)


@needs_assets
@pytest.mark.parametrize("name", NETWORKS)
def test_a_real_network_computes_what_it_computed(name: str, tmp_path: Path) -> None:
    graph, cleaned = real(name), real(name)
    clean(cleaned, "float")
    assert (len(graph), len(cleaned)) == NETWORKS[name]
    (feeds,) = random_feeds(graph, seed=1)
    wanted, found = Executor(graph).run(feeds), Executor(cleaned).run(feeds)
    assert [value.blob for value in found] == [value.blob for value in wanted]
    for (value, before), after in zip(wanted.items(), found.values(), strict=True):
        assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max(), value.blob
    again = write_and_read(cleaned, tmp_path)
    assert {value.blob for value in again.outputs} == {value.blob for value in graph.outputs}


def test_a_network_is_cleaned_up_and_then_quantized(tmp_path: Path) -> None:
    text = data("2 3 8 8") + conv("c", "data", 4, 3, "pad: 1") + layer("drop", "Dropout", "c", "c")
    text += layer("bn", "BatchNorm", "c", "c", "batch_norm_param { use_global_stats: true }")
    text += 'layer { name: "split" type: "Split" bottom: "c" top: "a" top: "b" }\n'
    text += (
        'layer { name: "k" type: "DummyData" top: "k" dummy_data_param { shape { dim: 2 dim: 4 dim: 8 dim: 8 } } }\n'
    )
    text += layer("kp", "Power", "k", "kp", "power_param { shift: 2 }") + layer("relu", "ReLU", "a", "a")
    text += layer("sum", "Eltwise", "a b kp", "sum") + layer("flat", "Flatten", "sum", "flat")
    text += layer("shape", "Reshape", "flat", "shape", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }")
    text += layer("fc", "InnerProduct", "shape", "fc", "inner_product_param { num_output: 5 }")
    model, weights = write_net(tmp_path, text)
    samples = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", data=samples)
    policy = tmp_path / "policy.cfg"
    policy.write_text("batch_num: 4\n", encoding="utf-8")
    found = amctc.compile(
        model, weights, policy=policy, data=tmp_path / "data.npz", output=tmp_path / "net", pipeline="float,ptq"
    )
    names = {node.name for node in found.graph.nodes if node.dialect == "caffe"}
    assert names == {"data", "c", "relu", "kp_constant", "sum", "flat", "fc"}
    fake = load_model(tmp_path / "net_fake_quant_model.prototxt", tmp_path / "net_fake_quant_weights.caffemodel")
    wanted = amctc.run(load_model(model, weights), {"data": samples[:2]})["fc"]
    simulated = amctc.run(fake, {"data": samples[:2]})["fc"]
    assert np.abs(simulated - wanted).max() <= 0.05 * np.abs(wanted).max()
