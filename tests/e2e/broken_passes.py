"""A plug-in of passes that break, nets they break on, and the reproducers that come of it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from amctc.frontends import load_model
from amctc.instruments import CheckEquivalence, NotEquivalent, Running
from amctc.ir import Graph
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.plugins import load_plugins
from amctc.policy import Policy, resolve
from amctc.registry import PASSES, current_registry
from amctc.reproducer import Broken, DataReference, Reproducer, read_reproducer, write_reproducer
from amctc.source import SourceFile
from tests.e2e.command import amctc
from tests.instruments.passes import blocks
from tests.nets import conv, layer, write_net
from tests.quantized import Feeds, random_feeds

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


@contextmanager
def loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path, None, None]:
    """The plug-in in a folder, loaded in this process too; the working folder is that one."""
    path = folder / "broken passes.py"
    path.write_text(PLUGIN, encoding="utf-8")
    monkeypatch.chdir(folder)
    before = set(PASSES.rows)
    load_plugins([path], entry_points=False)
    try:
        yield path
    finally:
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


def reduced(folder: Path, plugin: Path, *more: str | Path) -> tuple[Reproducer, str]:
    """What `amctc reduce` makes of a reproducer, which must show the same failure, and what it says."""
    outcome = amctc("reduce", folder, "--output", "small", "--plugin", plugin, *more)
    assert outcome.status == 0, outcome.stderr
    assert "here it comes" not in outcome.stdout
    assert (
        amctc("replay", "small", "--plugin", plugin).stdout.splitlines()[-1] == "this is the failure of the reproducer"
    )
    return read_reproducer(Path("small"), [plugin]), outcome.stdout
