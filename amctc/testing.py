"""What the tests of a pass are made of: golden files, running passes on a graph, comparing what graphs compute.

A golden file is text in sections. Comment lines say what the case shows; then:

- `-- pipeline`: the passes to run, as `--pipeline` takes them;
- `-- record`: a record of scales and offsets, for passes that take them from one;
- `-- policy`: a `.cfg` policy, where the case needs one (passes that cannot do without get an empty one); it may be
  one of quantization-aware training;
- `-- data`: calibration data, where the case needs them: `seed 0, 2 batches`, or a JSON object for each batch,
  with nested lists by the blob name of the input;
- `-- before`: the graph, in its textual form (`amctc print MODEL WEIGHTS --full` prints one);
- `-- after`: the graph that the passes make of it, or `unchanged`;
- `-- refused`: what they left as it was, `pass "layer": reason`;
- `-- diagnostics`: the errors and warnings; after an error there is no graph.

Write the first five; `check_golden(path, update=True)`, or `AMCTC_UPDATE=1` in the environment, writes the rest.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline import Pipeline
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.policy.resolve_training import resolve_training
from amctc.records.read_record import parse_record
from amctc.registry import current_registry
from amctc.runtime.executor import Executor
from amctc.source import SourceFile

Feeds: TypeAlias = Mapping[str, NDArray[np.float32]]

GIVEN = ("pipeline", "policy", "record", "data", "before")
MADE = ("after", "refused", "diagnostics")
UNCHANGED = "unchanged\n"


def golden_files(folder: str | Path) -> list[Path]:
    """Every golden file (`*.txt`) in a folder and below, in order."""
    return sorted(Path(folder).rglob("*.txt"))


def check_golden(path: str | Path, update: bool = False) -> None:
    """Run the passes of a golden file, and compare what they make with what the file says.

    Raises AssertionError with the difference, line by line; also where a pass tells wrongly whether it has changed
    the graph, and where passes that promise to preserve the numbers do not. With `update`, or with
    `AMCTC_UPDATE=1` in the environment, what they make is written into the file instead. Raises ValueError
    for a file that is not a golden file.
    """
    path = Path(path)
    golden = read_golden(path)
    made = golden.run()
    text = made.text()
    if update or os.environ.get("AMCTC_UPDATE", "0") not in ("", "0"):
        path.write_text(text, encoding="utf-8")
    elif text != (written := path.read_text(encoding="utf-8")):
        lines = difflib.unified_diff(written.splitlines(), text.splitlines(), "written", "made", lineterm="", n=3)
        hint = "\nAMCTC_UPDATE=1 records what was made; read the difference before you keep it"
        raise AssertionError("\n".join((f"{path.name}: {golden.title}", *lines)) + hint)


@dataclass(frozen=True)
class Golden:
    """A golden file: its comment and its sections, each text with its final line break."""

    file: str
    comment: str
    sections: Mapping[str, str]

    @property
    def title(self) -> str:
        """The comment on one line."""
        return " ".join(line.lstrip("/ ") for line in self.comment.splitlines())

    @property
    def changes(self) -> bool:
        """Whether the passes change the graph, as the file says."""
        return self.sections.get("after", UNCHANGED) != UNCHANGED

    @property
    def refusals(self) -> tuple[str, ...]:
        """The lines of what was refused."""
        return tuple(self.sections.get("refused", "").splitlines())

    def graph(self) -> Graph:
        """The graph before. Raises `DiagnosticError` at the character where it cannot be read."""
        return parse_graph(SourceFile(self.file, self.sections["before"]))

    def batches(self) -> list[Feeds]:
        """The calibration data."""
        text = self.sections.get("data", "").strip()
        seeded = re.fullmatch(r"seed (\d+), (\d+) batch(?:es)?", text)
        if seeded is not None:
            return list(random_feeds(self.graph(), int(seeded[1]), int(seeded[2])))
        given: list[dict[str, list[object]]] = [json.loads(line) for line in text.splitlines()]
        return [{blob: np.array(numbers, np.float32) for blob, numbers in batch.items()} for batch in given]

    def run(self) -> Golden:
        """The same file with what the passes make today."""
        graph = self.graph()
        before = print_graph(graph)
        sections = {**self.sections, "before": before}
        for name in MADE:
            sections.pop(name, None)
        pipeline = _pipeline(self.sections["pipeline"])
        context = _context(pipeline, graph, self.sections.get("policy"), self.batches())
        try:
            if "record" in self.sections:
                record = parse_record(SourceFile("record", self.sections["record"]), context.collector)
                context = replace(context, record=record)
            runs = pipeline.run(graph, context)
        except DiagnosticError as mistake:
            sections["diagnostics"] = _lines(f"error[{each.code}]: {each.message}" for each in mistake.diagnostics)
        else:
            after = print_graph(graph)
            if any(run.changed for run in runs) != (after != before):
                says, truth = ("changed", "has not") if after == before else ("left as it was", "has changed")
                raise AssertionError(f"{self.file}: `{pipeline}` says that the graph was {says}, but it {truth}")
            if after != before and all(step.preserves_numbers for step in pipeline.passes):
                assert_same_numbers(self.graph(), graph)
            sections["after"] = UNCHANGED if after == before else after
            sections["diagnostics"] = _lines(f"warning[{w.code}]: {w.message}" for w in context.collector.warnings)
        sections["refused"] = _lines(f'{each.by} "{each.layer}": {each.reason}' for each in context.refusals)
        return Golden(self.file, self.comment, sections)

    def text(self) -> str:
        """The whole file; `read_golden` reads it back."""
        wanted = [name for name in (*GIVEN, *MADE) if self.sections.get(name)]
        return self.comment + "".join(f"-- {name}\n{self.sections[name]}" for name in wanted)


def read_golden(path: Path) -> Golden:
    """A golden file. Raises ValueError where it has not the right sections."""
    comment, *parts = re.split(r"^-- (\w+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names = parts[::2]
    sections = {name: f"{text.rstrip()}\n" for name, text in zip(names, parts[1::2], strict=True) if text.strip()}
    if len(set(names)) != len(names) or not set(names) <= {*GIVEN, *MADE} or not {"pipeline", "before"} <= set(names):
        raise ValueError(f"{path}: the sections of a golden file are {', '.join((*GIVEN, *MADE))}")
    if not comment.strip() or any(not line.startswith("//") for line in comment.splitlines()):
        raise ValueError(f"{path}: a golden file begins with a comment that says what it shows: `// ...`")
    return Golden(path.name, comment, sections)


def run_passes(graph: Graph, pipeline: str, policy: str | None = None, batches: Sequence[Feeds] = ()) -> Context:
    """Run the text of a pipeline on a graph, in place; the context tells what was refused.

    `policy` is the text of a `.cfg` policy: without, passes that need one get an empty one, and others none.
    """
    steps = _pipeline(pipeline)
    context = _context(steps, graph, policy, batches)
    steps.run(graph, context)
    return context


def random_feeds(graph: Graph, seed: int = 0, count: int = 1) -> list[dict[str, NDArray[np.float32]]]:
    """Normally distributed batches for the inputs of a graph, which must have shapes; float32, by blob name."""
    rng = np.random.default_rng(seed)
    inputs = [value for node in graph.nodes if op_def(node).source for value in node.outputs]
    return [
        {value.blob: rng.normal(size=value.shape or ()).astype(np.float32) for value in inputs} for _ in range(count)
    ]


def outputs_of(graph: Graph, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """What a graph computes: its outputs by blob name."""
    return {value.blob: array for value, array in Executor(graph).run(feeds).items()}


def assert_same_numbers(before: Graph, after: Graph, seed: int = 0, tolerance: float = 2e-6) -> None:
    """Raise AssertionError unless two graphs give the same outputs for normally distributed inputs.

    No number may differ by more than `tolerance` times the largest of its output.
    """
    (feeds,) = random_feeds(before, seed)
    wanted, found = outputs_of(before, feeds), outputs_of(after, feeds)
    if wanted.keys() != found.keys():
        raise AssertionError(f"the outputs were {', '.join(wanted)}, and now are {', '.join(found)}")
    for blob, array in wanted.items():
        if array.shape != found[blob].shape:
            raise AssertionError(f"the output `{blob}` had the shape {array.shape}, and now has {found[blob].shape}")
        most = tolerance * np.abs(array).max(initial=0)
        if not np.allclose(found[blob], array, rtol=0, atol=most, equal_nan=True):
            worst = np.nanmax(np.abs(found[blob] - array))
            raise AssertionError(f"the output `{blob}` has changed by {worst:.3g}, allowed is {most:.3g}")


def _context(pipeline: Pipeline, graph: Graph, policy: str | None, batches: Sequence[Feeds]) -> Context:
    calibration = Calibration(lambda: iter(batches), len(batches))
    if policy is None and not any(step.needs_policy for step in pipeline.passes):
        return Context(None, calibration)
    rules = Policy.from_text(SourceFile("policy.cfg", policy or ""))
    if rules.training is not None:
        collector = Collector()
        training = resolve_training(rules, graph, collector)
        collector.raise_errors()
        return Context(None, calibration, collector, training=training)
    return Context(resolve(rules, graph), calibration)


def _pipeline(text: str) -> Pipeline:
    return parse_pipeline(SourceFile("pipeline", text.strip()), current_registry())


def _lines(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
