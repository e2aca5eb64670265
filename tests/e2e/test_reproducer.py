"""A pass that breaks leaves a folder in which it breaks again; `amctc replay` runs it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registry import current_registry
from amctc.reproducer import DataReference, Failure, read_reproducer, write_reproducer
from amctc.source import SourceFile
from tests.e2e.broken_passes import NET, PLUGIN, failing, loaded, reduced
from tests.e2e.command import amctc
from tests.nets import write_net
from tests.quantized import Feeds
from tests.shared_files import ROOT


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plug-in, loaded in this process too; the working folder is that of the test."""
    with loaded(tmp_path, monkeypatch) as path:
        yield path


def from_readme(folder: Path) -> list[str]:
    """The arguments of the command line that the README gives."""
    (line,) = [line for line in (folder / "README.txt").read_text("utf-8").splitlines() if line.startswith("    amctc")]
    return shlex.split(line)[1:]


def shell(arguments: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, in the working folder of the user."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "amctc", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


@pytest.mark.parametrize(
    ("passes", "name", "words"),
    [
        ("fuse-batchnorm,crashing", "crashing", "failed with ValueError: no idea of pool"),
        ("fuse-batchnorm,breaking", "breaking", "left a broken graph: the graph has a cycle"),
        ("fuse-batchnorm,endless", "endless", "does not come to an end"),
        ("fuse-batchnorm,fixpoint{limit=3}(wavering)", "wavering", "still changes the graph in round 3"),
        ("fuse-batchnorm,lying", "lying", "the first layer that differs is `pool` (Pooling)"),
    ],
)
def test_the_command_in_the_readme_shows_the_failure_again(
    passes: str, name: str, words: str, plugin: Path, tmp_path: Path
) -> None:
    folder = failing(tmp_path, passes, plugin=plugin)
    assert folder == Path(f"amctc-reproducer-{name}-1")
    again = shell(from_readme(folder), tmp_path)
    assert again.returncode == 1
    assert words in " ".join(again.stderr.split())
    assert again.stdout.splitlines()[-1] == "this is the failure of the reproducer"


def test_the_graph_is_that_in_front_of_the_pass_that_failed(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,crashing,merge-affine", plugin=plugin)
    found = read_reproducer(folder, [plugin])
    assert found.pipeline == "crashing,merge-affine"
    expected = load_model(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    parse_pipeline(SourceFile("pipeline", "fuse-batchnorm"), current_registry()).run(expected, Context())
    assert found.graph == expected
    assert found.failure == Failure("crashing", "ValueError", "failed with ValueError: no idea of pool, number 10")


def test_options_of_the_passes_are_kept(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,fixpoint(crashing{type=ReLU},merge-affine)", plugin=plugin)
    assert read_reproducer(folder, [plugin]).pipeline == "crashing{type=ReLU}"
    assert amctc("replay", folder, "--plugin", plugin).status == 1


def test_folders_are_numbered_and_those_that_are_there_are_left_alone(plugin: Path, tmp_path: Path) -> None:
    folders = [failing(tmp_path, "crashing", plugin=plugin) for _ in range(3)]
    assert [folder.name for folder in folders] == [f"amctc-reproducer-crashing-{number}" for number in (1, 2, 3)]


def test_a_working_folder_that_cannot_be_written_does_not_matter(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    mkdir = Path.mkdir

    def refused(path: Path, *arguments: Any, **options: Any) -> None:
        if not path.is_absolute():
            raise PermissionError(13, "Permission denied")
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    assert failing(tmp_path, "crashing", plugin=plugin) == elsewhere / "amctc-reproducer-crashing-1"


def test_policy_and_data_travel_along(plugin: Path, tmp_path: Path) -> None:
    batches: list[Feeds] = [{"data": np.full((2, 3, 8, 8), value, np.float32)} for value in (0.5, -9.0)]
    policy = "batch_num: 2\ncommon_config { ifmr_quantize { num_bits: 12 } }"
    folder = failing(tmp_path, "fuse-batchnorm,strict", plugin=plugin, batches=batches, policy=policy)
    (tmp_path / "net.prototxt").unlink()
    (tmp_path / "net.caffemodel").unlink()
    again = amctc("replay", folder, "--plugin", plugin)
    assert again.status == 1
    assert "RuntimeError: pool: common_config (p.cfg:2)" in again.stderr
    found = read_reproducer(folder, [plugin])
    assert found.batch is not None and found.batch["data"].mean() == 0.5


def test_data_too_large_to_copy_are_named(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amctc.reproducer.write.MOST_DATA", 1000)
    samples = np.random.default_rng(0).normal(size=(6, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", data=samples)
    reference = DataReference(str(tmp_path / "data.npz"), batch_size=2)
    folder = failing(tmp_path, "lying", plugin=plugin, batches=[{"data": samples[:2]}], data_at=reference)
    assert not (folder / "batch.npz").exists()
    assert read_reproducer(folder, [plugin]).data == reference
    again = amctc("replay", folder, "--plugin", plugin)
    assert again.stdout.splitlines()[-1] == "this is the failure of the reproducer"
    small, _ = reduced(folder, plugin)
    assert small.batch is not None
    (tmp_path / "data.npz").unlink()
    assert "AM440" in amctc("replay", folder, "--plugin", plugin).stderr
    assert amctc("replay", "small", "--plugin", plugin).stdout.endswith("this is the failure of the reproducer\n")


def test_a_second_run_that_fails_in_another_way_gets_the_whole_model(plugin: Path, tmp_path: Path) -> None:
    model = write_net(tmp_path, NET)
    pipeline = parse_pipeline(SourceFile("pipeline", "fuse-batchnorm,crashing"), current_registry())
    with pytest.raises(PassFailure) as caught:
        pipeline.run(load_model(*model), Context())

    def load() -> tuple[Graph, Context]:
        return load_model(*model), Context()

    folder = write_reproducer(load, pipeline, 9, caught.value, plugins=[plugin])
    found = read_reproducer(folder, [plugin])
    assert found.pipeline == str(pipeline)
    assert found.graph == load_model(*model)
    assert "could not be run again in the same way" in (folder / "README.txt").read_text("utf-8")
    assert amctc("replay", folder, "--plugin", plugin).status == 1


def test_a_mended_pass_ends_with_status_0(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,crashing", plugin=plugin)
    plugin.write_text(PLUGIN.replace("raise ValueError", "str"), encoding="utf-8")
    again = amctc("replay", folder, "--plugin", plugin)
    assert again.status == 0, again.stderr
    told = (
        "no pass fails any more; the reproducer tells that the pass `crashing` failed with ValueError: no idea of pool"
    )
    assert told in again.stdout


def test_another_failure_is_told_apart(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,crashing", plugin=plugin)
    plugin.write_text(PLUGIN.replace("raise ValueError", "raise KeyError"), encoding="utf-8")
    again = amctc("replay", folder, "--plugin", plugin)
    assert again.status == 1
    assert "the reproducer tells of another: the pass `crashing` failed with ValueError" in again.stdout


def test_a_replay_can_be_watched(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,crashing", plugin=plugin)
    again = amctc(
        "replay",
        folder,
        "--plugin",
        plugin,
        "--print-ir-before",
        "crashing",
        "--print-ir-layer",
        "b0/bn",
        "--time-passes",
    )
    assert "// graph before crashing (1)\ngraph" in again.stderr
    assert "layer `b0/bn` is not there at the start" in again.stderr
    assert "all passes" in again.stderr


def test_a_plug_in_runs_only_where_the_command_names_it(plugin: Path, tmp_path: Path) -> None:
    folder = failing(tmp_path, "crashing", plugin=plugin)
    plugin.write_text("raise SystemExit('it ran')", encoding="utf-8")
    again = amctc("replay", folder)
    assert again.status == 1
    assert "error[AM535]" in again.stderr and "--plugin" in again.stderr
    assert "it ran" not in again.stderr
