"""A pass that breaks leaves a folder in which it breaks again; `amctc replay` runs it and `amctc reduce` shrinks it."""

from __future__ import annotations

import json
import os
import pickle
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.frontends import load_model
from amctc.instruments import CheckEquivalence, NotEquivalent, Running
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.ir.stored_weights import StoredWeights
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.plugins import load_plugins
from amctc.policy import Policy, ResolvedPolicy, resolve
from amctc.registry import PASSES, current_registry
from amctc.reproducer import Broken, DataReference, Failure, Reproducer, read_reproducer, write_reproducer
from amctc.reproducer.policy_data import policy_from_plain, policy_to_plain
from amctc.reproducer.write import save
from amctc.runtime.executor import Executor
from amctc.source import SourceFile
from tests.e2e.command import amctc
from tests.instruments.passes import block, blocks
from tests.nets import conv, data, layer, write_net
from tests.quantized import Feeds, random_feeds
from tests.shared_files import ASSETS, ROOT, needs_assets

PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

import amctc
from amctc.ir import Graph
from amctc.ir.node import Use
from amctc.pipeline.context import Context
from amctc.pipeline.pass_ import Pass


@amctc.register_pass
@dataclass(frozen=True)
class Crashing(Pass):
    """Cannot do with layers of one type."""

    name: ClassVar[str] = "crashing"
    type: str = "Pooling"

    def run(self, graph: Graph, context: Context) -> bool:
        for node in graph.nodes:
            if node.type == self.type:
                print("here it comes")
                raise ValueError(f"no idea of {node.name}, number {node.created}")
        return False


@amctc.register_pass
@dataclass(frozen=True)
class Breaking(Pass):
    """Lets every pooling layer read itself."""

    name: ClassVar[str] = "breaking"

    def run(self, graph: Graph, context: Context) -> bool:
        for node in graph.nodes:
            if node.type == "Pooling":
                graph.set_input(Use(node, 0), node.output)
        return True


@amctc.register_pass
@dataclass(frozen=True)
class Endless(Pass):
    """Never stops adding layers."""

    name: ClassVar[str] = "endless"

    def run(self, graph: Graph, context: Context) -> bool:
        (source, *_), there = graph.nodes, any(node.type == "Pooling" for node in graph.nodes)
        while there:
            graph.add(f"more{len(graph)}", "caffe.ReLU", [source.output])
        return False


@amctc.register_pass
@dataclass(frozen=True)
class Wavering(Pass):
    """Says that it has changed something, every time."""

    name: ClassVar[str] = "wavering"

    def run(self, graph: Graph, context: Context) -> bool:
        return "pool" in graph


@amctc.register_pass
@dataclass(frozen=True)
class Lying(Pass):
    """Changes the pooling layers, and says that nothing changes."""

    name: ClassVar[str] = "lying"
    preserves_numbers: ClassVar[bool] = True

    def run(self, graph: Graph, context: Context) -> bool:
        for node in graph.nodes:
            if node.type == "Pooling":
                node.attrs["pooling_param"] = {"pool": amctc_symbol("AVE"), "kernel_size": 2, "stride": 2}
        return True


@amctc.register_pass
@dataclass(frozen=True)
class Strict(Pass):
    """Fails for a layer that the policy quantizes, and that has been calibrated with data of mean over 0."""

    name: ClassVar[str] = "strict"

    def run(self, graph: Graph, context: Context) -> bool:
        policy, batch = context.need_policy(), next(iter(context.need_calibration().batches()))
        for node in graph.nodes:
            if policy.quant_of(node) is not None and batch["data"].mean() > 0 and node.type == "Pooling":
                raise RuntimeError(f"{node.name}: {policy.quant_of(node).rule}")
        return False


def amctc_symbol(name: str) -> str:
    from amctc.text.plain import Symbol

    return Symbol(name)
'''

POOL = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
NET = blocks(2) + layer("pool", "Pooling", "b1", "pool", POOL) + conv("tail", "pool", 3)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plug-in, loaded in this process too; the working folder is that of the test."""
    path = tmp_path / "broken passes.py"
    path.write_text(PLUGIN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = set(PASSES.rows)
    load_plugins([path], entry_points=False)
    yield path
    for name in set(PASSES.rows) - before:
        PASSES.registration(name).remove()


def failing(
    folder: Path,
    passes: str,
    text: str = NET,
    *,
    plugin: Path,
    batches: Sequence[Feeds] | None = None,
    policy: str | None = None,
    files: tuple[Path, Path] | None = None,
    data_at: DataReference | None = None,
) -> Path:
    """The reproducer of passes that fail on a net."""
    model = files or write_net(folder, text)

    def load() -> tuple[Graph, Context]:
        graph = load_model(*model)
        fed = random_feeds(graph, 1) if batches is None else batches
        resolved = resolve(Policy.from_text(SourceFile("p.cfg", policy)), graph) if policy is not None else None
        return graph, Context(resolved, Calibration(lambda: iter(fed), len(fed)))

    pipeline = parse_pipeline(SourceFile("pipeline", passes), current_registry())
    running = Running()
    with pytest.raises((PassFailure, NotEquivalent)) as caught:
        pipeline.run(*load(), (running, CheckEquivalence()))
    broken: Broken = caught.value  # type: ignore[assignment]
    return write_reproducer(load, pipeline, running.number, broken, plugins=[plugin], data=data_at)


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


# -- reduce -------------------------------------------------------------------------------------------


def reduced(folder: Path, plugin: Path, *more: str | Path) -> tuple[Reproducer, str]:
    outcome = amctc("reduce", folder, "--output", "small", "--plugin", plugin, *more)
    assert outcome.status == 0, outcome.stderr
    assert "here it comes" not in outcome.stdout
    assert (
        amctc("replay", "small", "--plugin", plugin).stdout.splitlines()[-1] == "this is the failure of the reproducer"
    )
    return read_reproducer(Path("small"), [plugin]), outcome.stdout


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


# -- hostile folders ----------------------------------------------------------------------------------


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Changes the text of one file."""

    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(change(path.read_text("utf-8")), encoding="utf-8")

    return apply


def field(name: str, value: object) -> Callable[[Path], None]:
    """Changes one field of the index."""
    return rewritten("reproducer.json", lambda text: json.dumps({**json.loads(text), name: value}))


def weights(change: Callable[[dict[str, Any]], object], packed: bool = False) -> Callable[[Path], None]:
    """Changes the arrays."""

    def apply(folder: Path) -> None:
        with np.load(folder / "weights.npz") as file:
            arrays: dict[str, Any] = dict(file)
        change(arrays)
        (np.savez_compressed if packed else np.savez)(folder / "weights.npz", **arrays)

    return apply


class Evil:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


def pickled(folder: Path) -> None:
    with zipfile.ZipFile(folder / "weights.npz", "w") as archive:
        for name in ("b0/weight", "b1/weight", "tail/weight"):
            archive.writestr(f"{name}.npy", pickle.dumps(Evil()))


def objects(arrays: dict[str, Any]) -> None:
    arrays["b0/weight"] = np.array([Evil()], object)


def shorter(arrays: dict[str, Any]) -> None:
    arrays["b0/weight"] = arrays["b0/weight"][:1]


def piped(folder: Path) -> None:
    (folder / "weights.npz").unlink()
    os.mkfifo(folder / "weights.npz")


def bomb(arrays: dict[str, Any]) -> None:
    arrays["b0/weight"] = np.zeros(1 << 22, np.float32)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rewritten("graph.ir", lambda text: text.replace('"weights.npz"', '"../weights.npz"')), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace('"weights.npz"', '"/etc/passwd"')), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace('"weights.npz"', '"batch.npz"')), "AM534"),
        (rewritten("graph.ir", lambda text: text.replace('"b0/weight"', '"b9/weight"')), "no array `b9/weight`"),
        (
            rewritten("graph.ir", lambda text: text.replace("float32[4, 4, 3, 3]", "float32[4, 4, 9, 9]")),
            "not float32[4",
        ),
        (rewritten("graph.ir", lambda text: text.replace("caffe.Pooling", "nobody.Pooling")), "`nobody.Pooling`"),
        (rewritten("graph.ir", lambda text: text.replace('("b1/relu")', '("b1/relu", "b1")')), "AM534"),
        (
            rewritten("graph.ir", lambda text: text.replace("attrs {", "attrs {a: " + "[" * 3000 + "]" * 3000 + ", ")),
            "AM150",
        ),
        (rewritten("graph.ir", lambda text: text.replace("num_output: 4", "num_output: " + "4" * 5000)), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace('"pool"', r'"p\q"')), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace("[2, 3, 8, 8]", "[2, -3, 8, 8]")), "AM150"),
        (rewritten("reproducer.json", lambda text: text[:40]), "not JSON"),
        (rewritten("reproducer.json", lambda text: "[" * 100_000), "not JSON"),
        (rewritten("reproducer.json", lambda text: "[]"), "`version`"),
        (rewritten("policy.json", lambda text: text.replace("true", '"yes"')), "not the policy"),
        (rewritten("policy.json", lambda text: text.replace('"layers"', '"players"')), "not the policy"),
        (rewritten("policy.json", lambda text: "{}"), "not the policy"),
        (field("version", 99), "`version`"),
        (field("pipeline", ["crashing"]), "`pipeline`"),
        (field("pipeline", "no-such-pass"), "AM501"),
        (field("pipeline", "crashing{"), "AM500"),
        (field("failure", {"pass": 1}), "`failure`"),
        (field("plugins", "x.py"), "`plugins`"),
        (field("plugins", ["/elsewhere/evil.py"]), "AM535"),
        (field("check_equivalence", -1), "`check_equivalence`"),
        (field("batch", [1]), "`batch`"),
        (field("batch", ["data", "more"]), "no array `1`"),
        (field("data", {"data": "x"}), "`data`"),
        (weights(objects), "AM442"),
        (weights(shorter), "not float32[4"),
        (weights(bomb, packed=True), "not packed"),
        (weights(lambda arrays: arrays.clear()), "AM534"),
        (pickled, "AM441"),
        (piped, "not a regular file"),
        (lambda folder: (folder / "graph.ir").unlink(), "AM100"),
        (lambda folder: (folder / "weights.npz").write_bytes(b"PK nothing"), "AM441"),
        (lambda folder: (folder / "graph.ir").write_bytes(b"\xff\xfe\x00"), "AM105"),
    ],
)
def test_a_hostile_folder_is_refused_with_a_diagnostic(
    damage: Callable[[Path], None], words: str, plugin: Path, tmp_path: Path
) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,crashing", plugin=plugin, policy="")
    damage(folder)
    before = sorted(path.name for path in tmp_path.iterdir())
    for command in ("replay", "reduce"):
        outcome = amctc(command, folder, "--plugin", plugin)
        assert outcome.status == 1, outcome.stderr
        assert "error[AM" in outcome.stderr
        assert words in " ".join(outcome.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    outcome = amctc("replay", tmp_path / "nowhere")
    assert (outcome.status, "AM534" in outcome.stderr) == (1, True)


# -- the parts ----------------------------------------------------------------------------------------


def test_layers_that_share_weights_still_do_when_they_are_read_back(tmp_path: Path) -> None:
    graph = Graph("g")
    shared, small = np.ones(100, np.float32), np.ones(2, np.float32)
    for name in ("a", "a/b", "/etc", "x" * 5000, "n\x00l", "ü"):
        graph.add(
            name, "caffe.Scale", weights={"scale": shared, "bias": small, "own": np.arange(100, dtype=np.float32)}
        )
    stored = StoredWeights.of(graph, "weights.npz")
    assert len(stored.arrays) == 8
    np.savez(tmp_path / "weights.npz", **stored.arrays)  # type: ignore[arg-type]
    with np.load(tmp_path / "weights.npz") as file:
        arrays = dict(file)
    text = SourceFile("graph.ir", print_graph(graph, stored=stored))
    again = parse_graph(text, lambda file, key: arrays[key])
    assert again == graph
    assert again.node("a").weights["scale"] is again.node("ü").weights["scale"]
    assert again.node("a").weights["bias"] is again.node("/etc").weights["bias"]


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "batch_num: 3\nactivation_offset: false\nskip_layers: 'tail'\nskip_fusion_layers: 'b0'",
        "override_layer_types { layer_type: 'Convolution' calibration_config { snq_quantize { max_iteration: 500 } } }",
        "override_layer_configs { layer_name: 'b0' calibration_config { ifmr_quantize { search_range_start: 0.5 } } }",
    ],
)
def test_a_policy_as_data_gives_every_layer_what_it_gave(policy: str, tmp_path: Path) -> None:
    graph = load_model(*write_net(tmp_path, NET))
    resolved = resolve(Policy.from_text(SourceFile("p.cfg", policy)), graph)
    again = policy_from_plain(json.loads(json.dumps(policy_to_plain(resolved))))
    assert isinstance(again, ResolvedPolicy)
    assert again == resolved
    for node in graph.nodes:
        quant, same = resolved.quant_of(node), again.quant_of(node)
        assert (quant, quant and quant.rule) == (same, same and same.rule)
    assert again.types == resolved.types


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("cannot read `conv1` at 3", "cannot read `conv2/x` at -4.5e-3", True),
        ("failed with KeyError: 'conv1'", "failed with KeyError: 'pool'", True),
        ("no idea of conv1, number 3", "no idea of pool, number 1", True),
        ("no idea of conv1", "no idea of dropout", False),
        ("a cycle: conv1 -> pool -> conv1", "a cycle: pool -> pool", True),
        ("`conv1` is wrong; `pool` is wrong", "`pool` is wrong", True),
        ("it has the shape [1, 2, 3]", "it has the shape [4]", True),
        ("failed with KeyError: 'conv1'", "failed with ValueError: 'conv1'", False),
    ],
)
def test_failures_are_the_same_but_for_names_and_numbers(one: str, other: str, same: bool) -> None:
    names = {"conv1", "pool"}
    assert Failure("p", "E", one).like(Failure("p", "E", other), names) is same


def test_another_pass_or_exception_is_another_failure() -> None:
    failure = Failure("p", "E", "what")
    assert failure.like(Failure("p", "E", "what"))
    assert not failure.like(Failure("q", "E", "what"))
    assert not failure.like(Failure("p", "F", "what"))


def test_saving_says_how_large_the_graph_is(tmp_path: Path) -> None:
    graph = load_model(*write_net(tmp_path, NET))
    save(Reproducer(graph, "fuse-batchnorm", Failure("p", "E", "what")), ["a note"], tmp_path / "there")
    readme = (tmp_path / "there" / "README.txt").read_text("utf-8")
    assert "the graph (11 layers)" in readme and "a note" in readme
