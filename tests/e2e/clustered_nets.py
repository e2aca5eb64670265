"""Nets whose weights are clustered, how the command compiles them, and what then holds of both quantized models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amctc import driver
from amctc.compat import caffe
from amctc.dialects.traits import linear_trait
from amctc.frontends import load_model
from tests.compat.running import saved
from tests.e2e.command import ENDINGS, amctc, succeed
from tests.e2e.test_real_networks import values_of
from tests.nets import conv, data, layer, write_net

FILE = "tmp/bn_data/batchnorm.caffemodel"
"""Where the new statistics are written, by the manual's policy and by `UPDATED`."""

CLUSTERED = "common_config { snq_quantize { } }\n"
UPDATED = 'update_bn: true bn_update_config { bn_update_iterations: 3 bn_dump_dir: "tmp/bn_data" }\n'

AFFINE = "scale_param { bias_term: true }"


def with_affine(name: str, own: str = "") -> str:
    """A BatchNorm and a Scale, both in place; about half of the random factors of the Scale are negative."""
    return layer(f"{name}/bn", "BatchNorm", name, name, own) + layer(f"{name}/scale", "Scale", name, name, AFFINE)


EVERY_KIND = (
    data("4 3 8 8")
    + conv("conv1", "data", 8)
    + with_affine("conv1")
    + layer("relu", "ReLU", "conv1", "conv1")
    + conv("up", "conv1", 6, 2, "stride: 2 group: 2", "Deconvolution")
    + with_affine("up", "batch_norm_param { moving_average_fraction: 0.9 }")
    + conv("dw", "up", 6, 3, "group: 6")
    + with_affine("dw")
    + conv("pw", "dw", 8, 1)
    + layer("pw/bn", "BatchNorm", "pw", "pw/bn")
    + layer("relu2", "ReLU", "pw/bn", "pw/relu")
    + layer("fc1", "InnerProduct", "pw/relu", "fc1", "inner_product_param { num_output: 12 }")
    + with_affine("fc1")
    + layer("fc2", "InnerProduct", "fc1", "fc2", "inner_product_param { num_output: 5 transpose: true }")
)
"""A convolution, a deconvolution in groups, a depthwise and a pointwise one, and two InnerProducts."""

BATCH_NORMS = {"conv1/bn", "up/bn", "dw/bn", "pw/bn", "fc1/bn"}


@dataclass(frozen=True)
class Net:
    """The files of a float model and of its data, and how the command is to take them."""

    model: Path
    weights: Path
    data: Path
    how: tuple[str, ...] = ()

    def compile(self, text: str, *more: str | Path, prefix: str = "out/net") -> str:
        """Compile it with the text of a policy; stderr."""
        Path("policy.cfg").write_text(text, encoding="utf-8")
        outcome = amctc("compile", *self.arguments, "-p", "policy.cfg", "-o", prefix, *more)
        assert outcome.status == 0, outcome.stderr
        return outcome.stderr

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        return (self.model, self.weights, "-d", self.data, *self.how)


def random_net(folder: Path, text: str, shape: tuple[int, ...], samples: int = 12) -> Net:
    model, weights = write_net(folder, text)
    drawn = np.random.default_rng(7).normal(size=(samples, *shape)).astype(np.float32)
    np.savez(folder / "data.npz", data=drawn)
    return Net(model, weights, folder / "data.npz")


def every_kind(folder: Path) -> Net:
    """`EVERY_KIND` with random weights, and 12 samples: 3 batches."""
    return random_net(folder, EVERY_KIND, (3, 8, 8))


def deploy(prefix: str = "out/net") -> tuple[Path, Path]:
    return Path(f"{prefix}_deploy_model.prototxt"), Path(f"{prefix}_deploy_weights.caffemodel")


def fake_quant(prefix: str = "out/net") -> tuple[Path, Path]:
    return Path(f"{prefix}_fake_quant_model.prototxt"), Path(f"{prefix}_fake_quant_weights.caffemodel")


def clustered_layers(prefix: str = "out/net") -> set[str]:
    """The layers whose sums a DeQuant of 4 bits reads; each must have no more than 16 values for a scale."""
    found: set[str] = set()
    for node in load_model(*deploy(prefix)).nodes:
        if node.op != "quant.Dequantize" or node.attrs.get("bits") != 4:
            continue
        linear = node.inputs[0].producer
        rows = linear_trait(linear).by_output_channel(linear, linear.weights["weight"])
        tables = rows.reshape(node.weights["deq_scale"].size, -1)
        assert max(len(np.unique(row)) for row in tables) <= 16, linear.name
        found.add(linear.name)
    return found


def assert_the_models_agree(arrays: Mapping[str, NDArray[np.float32]], prefix: str = "out/net") -> None:
    """The same integers as weights in both models, and on every quantized value at most one unit between them."""
    integers, floats = load_model(*deploy(prefix)), load_model(*fake_quant(prefix))
    for node in integers.nodes:
        weight = node.weights.get("weight")
        if weight is not None and weight.dtype == np.int8:
            assert np.array_equal(floats.node(node.name).weights["weight"], weight), node.name
    quantizers = [node for node in integers.nodes if node.op == "quant.Quantize"]
    assert quantizers
    one, other = (values_of(graph, quantizers, arrays) for graph in (integers, floats))
    for node in quantizers:
        offset = node.attrs["offset"]
        assert isinstance(offset, int)
        apart = np.abs(one[node.name].astype(np.int64) - offset - other[node.name].astype(np.int64))
        assert apart.max() <= 1, node.name


def batches_of(net: Net, size: int, count: int) -> Iterator[NDArray[np.float32]]:
    """Whole batches as the compilation sees them, gone through again where they end."""
    graph = load_model(net.model, net.weights)
    preprocess = net.how[net.how.index("--preprocess") + 1] if net.how else None
    whole = list(driver.open_dataset(graph, str(net.data), preprocess).batches(size))
    for number in range(count):
        yield np.asarray(whole[number % len(whole)]["data"], np.float32)


def assert_the_record_gives_the_same_files(net: Net, statistics: str | None) -> None:
    """Convert the float model, with the statistics of the file in it, by the record of the compilation."""
    weights = net.weights
    if statistics is not None:
        renewed = caffe.Net(str(net.model), str(weights), caffe.TEST)
        with contextlib.redirect_stderr(None):
            renewed.copy_from(statistics)
        weights = Path("renewed.caffemodel")
        renewed.save(str(weights))
    record = "out/net_scale_offset_record.txt"
    succeed("convert", net.model, weights, "--record", record, "--target", "caffe", "--output", "again/net")
    compiled, converted = saved(Path("out/net")), saved(Path("again/net"))
    assert sorted(compiled) == sorted(ENDINGS)
    assert [name for name in compiled if compiled[name] != converted[name]] == []
