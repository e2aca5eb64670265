"""Non-uniform weights through the command line: the manual's policy on real networks, and a net of every kind."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc import driver
from amctc.compat import caffe
from amctc.diagnostics import DiagnosticError
from amctc.dialects.traits import linear_trait
from amctc.frontends import load_model
from amctc.frontends.caffe.weights import read_weights
from amctc.passes import PIPELINES
from amctc.policy import Policy
from amctc.quant.arq import quantize_weights
from amctc.quant.snq import INIT_ALGOS, SnqSettings, quantize_weights_snq
from amctc.records.read_record import read_record
from amctc.registry import PASSES
from amctc.source import SourceFile
from amctc.text.proto_schema import load_schema
from tests.compat.running import saved
from tests.e2e.command import ENDINGS, amctc, contents, succeed
from tests.e2e.real_data import BATCH, Network, recorded, resnet20, squeezenet
from tests.e2e.test_real_networks import values_of
from tests.nets import conv, data, layer, write_net
from tests.policy.test_seed_samples import BN_UPDATE, COMMON, OVERRIDES, sample
from tests.runtime.batch_norm_reference import Blobs, difference, step
from tests.shared_files import needs_assets, needs_golden, needs_seeds

SAMPLES = 64
FILE = "tmp/bn_data/batchnorm.caffemodel"
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


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(desk: Path) -> Net:
    """`EVERY_KIND` with random weights, and 12 samples: 3 batches."""
    return random_net(desk, EVERY_KIND, (3, 8, 8))


@pytest.fixture
def digits(desk: Path) -> Net:
    return of_network(recorded("mnist_bn"), desk)


def random_net(folder: Path, text: str, shape: tuple[int, ...], samples: int = 12) -> Net:
    model, weights = write_net(folder, text)
    drawn = np.random.default_rng(7).normal(size=(samples, *shape)).astype(np.float32)
    np.savez(folder / "data.npz", data=drawn)
    return Net(model, weights, folder / "data.npz")


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


# -- the manual's policy on real networks ---------------------------------------------------------------------------


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


# -- a net with every linear layer ---------------------------------------------------------------------------------


@pytest.mark.parametrize("renewal", ["", UPDATED])
@pytest.mark.parametrize(
    "rules",
    [
        CLUSTERED,
        "common_config { snq_quantize { channel_wise: false } }\n",
        CLUSTERED + "do_fusion: false\n",
        CLUSTERED + 'skip_fusion_layers: "up" skip_fusion_layers: "dw/scale" skip_fusion_layers: "conv1"\n',
        *(f"common_config {{ snq_quantize {{ init_algo: '{init}' }} }}\n" for init in INIT_ALGOS[1:]),
        'override_layer_configs { layer_name: "up" calibration_config { snq_quantize { } } }\n',
        "batch_num: 3\n",
    ],
)
def test_both_models_agree_and_the_record_gives_them_again(rules: str, renewal: str, net: Net) -> None:
    net.compile(rules + renewal, "--check-equivalence")
    wanted = {"conv1", "up", "dw", "pw", "fc1", "fc2"} if "common" in rules else {"up"} if "snq" in rules else set()
    assert clustered_layers() == wanted
    assert_the_models_agree({"data": next(batches_of(net, 4, 1))})
    if "fusion" not in rules:
        # An InnerProduct has one scale, which cannot take a factor for each channel once the weights are integers.
        left = {node.name for node in load_model(*deploy()).nodes if node.type in ("BatchNorm", "Scale")}
        assert left == ({"fc1/bn", "fc1/scale"} if wanted or renewal else set())
    assert set(read_weights(FILE) if renewal else BATCH_NORMS) == BATCH_NORMS
    assert_the_record_gives_the_same_files(net, FILE if renewal else None)


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


@pytest.mark.parametrize("rules", ["", "do_fusion: false\n"])
def test_two_runs_give_identical_bytes(rules: str, net: Net, desk: Path) -> None:
    net.compile(CLUSTERED + UPDATED + rules)
    first = {**contents(desk / "out"), **contents(desk / "tmp")}
    net.compile(CLUSTERED + UPDATED + rules)
    assert {**contents(desk / "out"), **contents(desk / "tmp")} == first


def test_a_layer_config_gives_what_the_policy_gives(net: Net, desk: Path) -> None:
    net.compile(CLUSTERED + UPDATED)
    first = {**contents(desk / "out"), **contents(desk / "tmp")}
    succeed("config", net.model, net.weights, "-p", "policy.cfg", "-o", "config.json")
    succeed("compile", *net.arguments, "-p", "config.json", "-o", "out/net")
    assert {**contents(desk / "out"), **contents(desk / "tmp")} == first


def test_the_statistics_reach_the_biases_of_the_quantized_model(net: Net) -> None:
    net.compile(CLUSTERED)
    before = load_model(*deploy()).node("conv1").weights["bias"].copy()
    net.compile(CLUSTERED + UPDATED)
    assert not np.array_equal(load_model(*deploy()).node("conv1").weights["bias"], before)


def test_the_record_and_the_parameter_record_have_the_levels(net: Net) -> None:
    net.compile(CLUSTERED)
    record = read_record(Path("out/net_scale_offset_record.txt"))
    for entry in record.layers:
        if entry.scale_w:
            assert entry.bits_w == 4
            assert len(entry.cluster) == 16 * len(entry.scale_w)
    scales = {entry.name: len(entry.scale_w) for entry in record.layers if entry.scale_w}
    assert scales == {"conv1": 8, "up": 6, "dw": 6, "pw": 8, "fc1": 1, "fc2": 1}
    assert Path("out/net_quant_param_record.txt").read_text("utf-8").count("S4") == 6


# -- what the user is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "told"), [(4, True), (11, True), (12, False), (40, False)])
def test_data_that_hold_fewer_batches_are_gone_through_again(samples: int, told: bool, desk: Path) -> None:
    net = random_net(desk, EVERY_KIND, (3, 8, 8), samples)
    stderr = net.compile(CLUSTERED + UPDATED)
    assert ("AM512" in stderr) is told
    factor = read_weights(FILE)["conv1/bn"][2].item()
    assert factor == pytest.approx(((2 * 0.5 + 1) * 0.5 + 1) * 0.5 + 1)


def test_an_iterator_is_refused_before_it_is_read(net: Net, desk: Path) -> None:
    before = contents(desk)

    def samples() -> Iterator[NDArray[np.float32]]:
        raise AssertionError("it was read")
        yield  # pragma: no cover

    policy = Policy.from_text(SourceFile("policy.cfg", CLUSTERED + UPDATED))
    with pytest.raises(DiagnosticError, match="an iterator can be read only once") as caught:
        driver.compile(net.model, net.weights, policy=policy, data=samples(), output="out/net")
    assert [found.code for found in caught.value.diagnostics] == ["AM446"]
    assert contents(desk) == before


def test_the_uniform_pipeline_clusters_but_renews_nothing_and_says_so(net: Net) -> None:
    assert "warning[AM513]" in net.compile(CLUSTERED + UPDATED, "--pipeline", "ptq")
    assert len(clustered_layers()) == 6
    assert not Path("tmp").exists()
    assert "AM513" not in net.compile(CLUSTERED + UPDATED)


def test_the_float_pipeline_may_stand_in_front(net: Net) -> None:
    net.compile(CLUSTERED + UPDATED, "--pipeline", "float,ptq-nonuniform")
    assert len(clustered_layers()) == 6
    assert_the_models_agree({"data": next(batches_of(net, 4, 1))})


@pytest.mark.parametrize("bad", ['""', '"net.prototxt"', '"net.prototxt/bn"', '"link/bn"'])
def test_a_folder_that_cannot_be_leaves_every_file_as_it_was(bad: str, net: Net, desk: Path) -> None:
    (desk / "link").symlink_to("nowhere")
    net.compile(CLUSTERED)
    Path("policy.cfg").write_text(CLUSTERED + UPDATED.replace('"tmp/bn_data"', bad), encoding="utf-8")
    before = contents(desk)
    outcome = amctc("compile", *net.arguments, "-p", "policy.cfg", "-o", "out/net")
    assert outcome.status == 1
    assert "error[AM245]" in outcome.stderr
    assert contents(desk) == before


def test_a_net_without_batch_norm_is_told_so_and_compiled(desk: Path) -> None:
    net = random_net(desk, data("4 3 8 8") + conv("a", "data", 4) + conv("b", "a", 4) + conv("c", "b", 4), (3, 8, 8))
    assert "warning[AM273]" in net.compile(CLUSTERED + UPDATED)
    assert clustered_layers() == {"a", "b", "c"}
    assert not Path("tmp").exists()


# -- commands ------------------------------------------------------------------------------------------------------


def test_the_other_commands_take_what_was_written(net: Net) -> None:
    net.compile(CLUSTERED + UPDATED)
    for files in (deploy(), fake_quant()):
        assert 'node "fc2"' in succeed("print", *files)
        succeed("run", *files, "-d", net.data, "-o", f"{files[0].stem}.npz")
    one, other = (np.load(f"{files[0].stem}.npz")["fc2"] for files in (deploy(), fake_quant()))
    assert one.shape == (12, 5)
    assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()
    quantized = amctc("compile", *deploy(), "-p", "policy.cfg", "-d", net.data, "-o", "twice/net")
    assert "error[AM332]" in quantized.stderr
    story = succeed("explain", net.model, net.weights, "-p", "policy.cfg", "--layer", "up")
    assert "snq_quantize" in story
    assert succeed("explain", net.model, net.weights, "-p", "policy.cfg").count("snq 4") == 6


def test_passes_are_explained_in_the_pipeline_that_the_policy_takes(net: Net) -> None:
    Path("policy.cfg").write_text(CLUSTERED + UPDATED, encoding="utf-8")
    explain = ("explain", net.model, net.weights, "-p", "policy.cfg", "--pass")
    told = succeed(*explain, "fuse-batchnorm")
    assert "folded BatchNorm `up/bn` into the weights" in told
    # Weights that are clustered already, with one scale, cannot take a factor for each channel.
    assert "the weights of `fc1` are quantized, and may not have a scale for each output channel" in told
    refused = amctc(*explain, "update-batchnorm")
    assert refused.status == 1
    assert "error[AM509]: `update-batchnorm` runs only with calibration data" in refused.stderr
    Path("policy.cfg").write_text(CLUSTERED, encoding="utf-8")
    assert "does not say `update_bn: true`" in succeed(*explain, "update-batchnorm")


def test_a_pass_that_needs_weights_is_not_explained_without(net: Net) -> None:
    Path("policy.cfg").write_text(CLUSTERED, encoding="utf-8")
    for name in ("fuse-batchnorm", "quantize-weights", "observe"):
        outcome = amctc("explain", net.model, "-p", "policy.cfg", "--pass", name)
        assert outcome.status == 1
        assert "error[AM420]: layer `conv1` (Convolution): has no weights" in outcome.stderr


def test_the_passes_can_be_watched(net: Net, desk: Path) -> None:
    watching = ("--print-ir-after", "update-batchnorm", "--time-passes", "--save-temps", "temps", "--check-equivalence")
    stderr = net.compile(CLUSTERED + UPDATED, *watching)
    assert "// graph after update-batchnorm (3)" in stderr
    assert 'change "update-batchnorm" "mean and variance of 3 batches"' in stderr
    assert (
        'change "quantize-weights" "4 bits, one scale and 16 levels for each output channel, init_algo uniform"'
        in stderr
    )
    assert re.search(r"update-batchnorm +[\d.]+ .* layers 5", stderr)
    names = {path.name for path in (desk / "temps").iterdir()}
    assert {"02-quantize-weights.txt", "03-update-batchnorm.txt", "04-fuse-batchnorm.txt"} <= names


PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

import amctc
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass


@amctc.register_pass
@dataclass(frozen=True)
class Crashing(Pass):
    """Breaks once the statistics are renewed."""

    name: ClassVar[str] = "crashing-behind-renewal"
    needs_before: ClassVar[tuple[str, ...]] = ("update-batchnorm",)
    before: ClassVar[tuple[str, ...]] = ("fuse-batchnorm",)

    def run(self, graph: Graph, context: Context) -> bool:
        factor = graph.node("conv1/bn").weights["factor"]
        raise RuntimeError(f"the factor is {factor.item():.4f}")
'''


@pytest.fixture
def plugin(desk: Path) -> Iterator[Path]:
    path = desk / "plugin.py"
    path.write_text(PLUGIN, encoding="utf-8")
    before = set(PASSES.rows)
    yield path
    for name in set(PASSES.rows) - before:
        PASSES.registration(name).remove()


@pytest.mark.parametrize("named", ["by the policy", "by the pipeline"])
def test_a_pass_that_breaks_behind_the_renewal_breaks_again_in_its_reproducer(
    named: str, net: Net, plugin: Path
) -> None:
    text = CLUSTERED + UPDATED
    more: tuple[str, ...] = ()
    if named == "by the policy":
        text += 'pass { name: "crashing-behind-renewal" }\n'
    else:
        passes = PIPELINES["ptq-nonuniform"].replace("fuse-batchnorm", "crashing-behind-renewal,fuse-batchnorm")
        more = ("--pipeline", passes)
    Path("policy.cfg").write_text(text, encoding="utf-8")
    succeed("check", "policy.cfg", "--plugin", plugin)
    outcome = amctc("compile", *net.arguments, "-p", "policy.cfg", "-o", "out/net", "--plugin", plugin, *more)
    assert outcome.status == 1
    failure = "RuntimeError: the factor is 2.0000"
    assert "error[AM527]" in outcome.stderr and failure in outcome.stderr
    assert not Path("out").exists() and not Path("tmp").exists()
    note = re.search(r"`amctc (replay [^`]*)`", outcome.stderr)
    assert note is not None
    again = amctc(*shlex.split(note[1]))
    assert failure in again.stderr
    assert again.stdout.splitlines()[-1] == "this is the failure of the reproducer"


def test_a_policy_may_name_the_pass_that_the_usual_pipeline_has(net: Net) -> None:
    text = CLUSTERED + UPDATED + 'pass { name: "update-batchnorm" }\n'
    net.compile(text)
    assert Path(FILE).is_file()
    succeed("check", "policy.cfg")
