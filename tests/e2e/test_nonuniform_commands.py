"""The other commands on a net with non-uniform weights, and passes that are explained, watched, added or broken."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amctc.passes import PIPELINES
from amctc.registry import PASSES
from tests.e2e.clustered_nets import CLUSTERED, FILE, UPDATED, Net, deploy, every_kind, fake_quant
from tests.e2e.command import amctc, succeed


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(desk: Path) -> Net:
    """`EVERY_KIND` with random weights, and 12 samples: 3 batches."""
    return every_kind(desk)


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
