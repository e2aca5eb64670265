"""`amctc reduce` shrinks a reproducer to the layers and passes that matter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amctc.reproducer import read_reproducer
from amctc.runtime.executor import Executor
from tests.e2e.broken_passes import NET, PLUGIN, POOL, failing, loaded, reduced
from tests.e2e.command import amctc
from tests.instruments.passes import block, blocks
from tests.nets import conv, data, layer
from tests.quantized import Feeds
from tests.shared_files import ASSETS, needs_assets


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plug-in, loaded in this process too; the working folder is that of the test."""
    with loaded(tmp_path, monkeypatch) as path:
        yield path


def test_sixty_layers_with_one_bad_one_become_the_few_that_matter(plugin: Path, tmp_path: Path) -> None:
    text = blocks(8) + layer("pool", "Pooling", "b7", "pool", POOL)
    text += block("after", "pool", 6) + "".join(block(f"c{i}", f"c{i - 1}" if i else "after", 6) for i in range(6))
    folder = failing(tmp_path, "crashing,fuse-batchnorm", text, plugin=plugin)
    assert len(read_reproducer(folder, [plugin]).graph) >= 60
    small, told = reduced(folder, plugin)
    assert [node.type for node in small.graph.nodes] == ["Input", "Pooling"]
    assert small.pipeline == "crashing"
    assert told.startswith("2 of 62 layers left, ")


def test_a_graph_with_branches_is_reduced(plugin: Path, tmp_path: Path) -> None:
    text = NET + conv("left", "pool", 3, kernel=1) + conv("right", "pool", 3, kernel=1)
    text += layer("sum", "Eltwise", "left right", "sum") + layer("cat", "Concat", "sum left", "cat")
    text += layer("soft", "Softmax", "cat", "soft") + layer("out", "Softmax", "sum", "out")
    folder = failing(tmp_path, "fuse-batchnorm,crashing{type=Eltwise}", text, plugin=plugin)
    small, _ = reduced(folder, plugin)
    assert [node.type for node in small.graph.nodes if node.inputs] == ["Eltwise"]


@pytest.mark.parametrize("passes", ["breaking", "endless", "fixpoint{limit=3}(wavering)"])
def test_broken_and_endless_graphs_are_reduced(passes: str, plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, f"fuse-batchnorm,{passes}", plugin=plugin)
    small, _ = reduced(folder, plugin)
    assert [node.type for node in small.graph.nodes] == ["Input", "Pooling"]


def test_numbers_that_differ_still_do_so_in_the_reduced_graph(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,lying", plugin=plugin)
    small, _ = reduced(folder, plugin)
    assert [node.type for node in small.graph.nodes] == ["Input", "Pooling"]
    assert small.batch is not None
    ((name, array),) = small.batch.items()
    # The batch is what the network computed at the place of the new input.
    whole = read_reproducer(folder, [plugin])
    value = whole.graph.node(name.removesuffix(".in")).output
    assert whole.batch is not None
    assert np.array_equal(Executor(whole.graph, fetch=[value]).run(whole.batch)[value], array)


def test_of_the_policy_what_speaks_of_the_layers_left_is_kept(plugin: Path, tmp_path: Path) -> None:
    batches: list[Feeds] = [{"data": np.ones((2, 3, 8, 8), np.float32)}]
    text = data() + layer("pool", "Pooling", "data", "pool", POOL) + conv("tail", "pool", 3)
    folder = failing(tmp_path, "strict", text, plugin=plugin, batches=batches, policy="")
    small, _ = reduced(folder, plugin)
    assert small.policy is not None
    assert list(small.policy.layers) == ["pool"]


def test_the_limit_of_tries_ends_the_search_with_what_has_been_found(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "crashing", blocks(6) + layer("pool", "Pooling", "b5", "pool", POOL), plugin=plugin)
    small, told = reduced(folder, plugin, "--tries", "2")
    assert "the limit of `--tries` ended it" in told
    assert 2 < len(small.graph) < 26


def test_a_reproducer_that_does_not_fail_is_not_reduced(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "crashing", plugin=plugin)
    plugin.write_text(PLUGIN.replace("raise ValueError", "str"), encoding="utf-8")
    outcome = amctc("reduce", folder, "--plugin", plugin)
    assert (outcome.status, "AM536" in outcome.stderr) == (1, True)
    assert not list(tmp_path.glob("*reduced*"))


@needs_assets
def test_a_real_network_is_reproduced_and_reduced(plugin: Path, tmp_path: Path) -> None:
    found = ASSETS / "caffe/cifar10_resnet20"
    files = found / "deploy.prototxt", found / "resnet20.caffemodel"
    folder = failing(tmp_path, "fuse-batchnorm,lying", plugin=plugin, files=files)
    small, _ = reduced(folder, plugin)
    # The pooling then gives another shape, so that it is the InnerProduct behind it that cannot run.
    assert [node.type for node in small.graph.nodes] == ["Input", "Pooling", "InnerProduct"]
