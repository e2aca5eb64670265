"""Non-uniform weights through the command line: what is written of a net with every linear layer, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc import driver
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.frontends.caffe.weights import read_weights
from amctc.policy import Policy
from amctc.quant.snq_settings import INIT_ALGOS
from amctc.records.read_record import read_record
from amctc.source import SourceFile
from tests.e2e.clustered_nets import (
    BATCH_NORMS,
    CLUSTERED,
    EVERY_KIND,
    FILE,
    UPDATED,
    Net,
    assert_the_models_agree,
    assert_the_record_gives_the_same_files,
    batches_of,
    clustered_layers,
    deploy,
    every_kind,
    random_net,
)
from tests.e2e.command import amctc, contents, succeed
from tests.nets import conv, data


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(desk: Path) -> Net:
    """`EVERY_KIND` with random weights, and 12 samples: 3 batches."""
    return every_kind(desk)


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
