"""Reads and runs damaged Caffe models in a process of its own, with limits on time and memory.

`python -m tests.fuzz.mutate_models START COUNT` makes the cases START to START + COUNT - 1 (a case
depends on its number alone), and prints a JSON summary. A case may end in a graph that runs, or in a
diagnostic; anything else, 5 seconds of processor time or 1 GiB of memory is a failure.
"""

from __future__ import annotations

import json
import math
import random
import re
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import numpy as np

from amctc.diagnostics import Collector, DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.ir.printer import print_graph
from amctc.runtime.executor import graph_inputs, run_graph
from tests.fuzz.mutations import WORDS
from tests.shared_files import GOLDEN, ROOT

SECONDS = 5
MEBIBYTES = 1024
MOST_ELEMENTS = 1 << 20
"""A net of larger blobs is read, but not run."""

Random: TypeAlias = random.Random

_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
_HUGE = ("4294967295", "2147483647", "1000000000000", "-1", "0", "99999", "3000000000")


class TooLong(Exception):
    """A case took more than its time."""


def main() -> None:
    start, count = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGVTALRM, _stop)
    before = _peak()
    ends: dict[str, int] = {"graph": 0, "diagnostic": 0}
    failures: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, start + count):
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                ends[_end_of(number, Path(folder))] += 1
            except Exception as problem:
                where = traceback.format_exc().strip().splitlines()[-8:]
                failures.append({"case": number, "problem": repr(problem)[:300], "where": where})
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            grown = _peak() - before
            if grown > MEBIBYTES:
                failures.append({"case": number, "problem": f"{grown} MiB of memory", "where": []})
                before = _peak()
    print(json.dumps({"cases": count, "ends": ends, "failures": failures, "grown_mib": _peak() - before}))


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS} s")


def _peak() -> int:
    """The most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _end_of(number: int, folder: Path) -> str:
    model, weights = write_case(number, folder)
    try:
        collector = Collector()
        graph = load_model(model, weights, collector)
        print_graph(graph, elide_weights=True)
        _run(graph)
    except DiagnosticError as told:
        if not told.diagnostics or not all(diagnostic.message for diagnostic in told.diagnostics):
            raise ValueError("a diagnostic that says nothing") from told
        str(told)
        return "diagnostic"
    return "graph"


def _run(graph: Graph) -> None:
    shapes = [value.shape for node in graph for value in node.outputs]
    if any(shape is None or math.prod(shape) > MOST_ELEMENTS for shape in shapes):
        return
    feeds: dict[str, Any] = {
        name: np.full(value.shape, 0.5, np.float32) for name, value in graph_inputs(graph).items() if value.shape
    }
    with np.errstate(all="ignore"):
        run_graph(graph, feeds, threads=1)


def write_case(number: int, folder: Path) -> tuple[Path, Path | None]:
    """The files of one case: a net and perhaps its weights, one of the two damaged."""
    rng = Random(number)
    prototxt, caffemodel = rng.choice(_samples())
    model, weights = folder / "net.prototxt", folder / "net.caffemodel"
    text = prototxt.read_text(encoding="utf-8")
    data = caffemodel.read_bytes() if caffemodel is not None else None
    if data is not None and rng.random() < 0.5:
        data = damaged_bytes(rng, data)
    else:
        text = damaged_text(rng, text)
    model.write_text(text, encoding="utf-8")
    if data is None:
        return model, None
    weights.write_bytes(data)
    return model, weights


@cache
def _samples() -> Sequence[tuple[Path, Path | None]]:
    """Nets and their weights: those recorded from Caffe, or the embedded example where these are absent."""
    found: list[tuple[Path, Path | None]] = [
        (ROOT / "examples/digits/digits.prototxt", ROOT / "examples/digits/digits.caffemodel")
    ]
    for folder in ("caffe/layers", "caffe/legacy", "caffe_fork/layers"):
        for prototxt in sorted((GOLDEN / folder).glob("*.prototxt")):
            caffemodel = prototxt.with_suffix(".caffemodel")
            found.append((prototxt, caffemodel if caffemodel.is_file() else None))
    return found


def damaged_text(rng: Random, text: str) -> str:
    """The text after a few edits: cut off, nested deeply, repeated, with huge or odd values."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        tokens: list[str] = _TOKENS.findall(text) or [""]
        at = rng.randrange(len(tokens))
        match rng.randrange(9):
            case 0:
                tokens = tokens[:at]
            case 1:
                tokens[at:at] = [rng.choice(("layer {", "shape {", "x {", "[", "convolution_param {"))] * rng.choice(
                    (3, 500)
                )
            case 2:
                end = min(len(tokens), at + rng.randint(1, 40))
                tokens[at:end] = tokens[at:end] * rng.choice((2, 3, 50))
            case 3 | 4:
                numbers = [index for index, token in enumerate(tokens) if token.isdigit()]
                tokens[rng.choice(numbers or [at])] = rng.choice(_HUGE)
            case 5:
                tokens[at] = rng.choice(WORDS)
            case 6:
                del tokens[at : at + rng.randint(1, 12)]
            case 7:
                words = [index for index, token in enumerate(tokens) if token.isidentifier()]
                first, second = rng.choice(words or [at]), rng.choice(words or [at])
                tokens[first], tokens[second] = tokens[second], tokens[first]
            case _:
                tokens.insert(at, rng.choice(WORDS))
        text = "".join(tokens)
    return text


def damaged_bytes(rng: Random, data: bytes) -> bytes:
    """The bytes after a few edits: flipped bits, cut off, repeated, lengths made huge."""
    edited = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 6))):
        # Most edits go to the front, where the structure is; the rest is numbers.
        reach = len(edited) if rng.random() < 0.3 else min(len(edited), 400)
        at = rng.randrange(max(reach, 1))
        match rng.randrange(6):
            case 0 | 1:
                edited[at : at + 1] = bytes([(edited[at] if edited else 0) ^ (1 << rng.randrange(8))])
            case 2:
                del edited[at:]
            case 3:
                edited[at : at + 1] = rng.choice(
                    (b"\xff" * 9 + b"\x01", b"\xff\xff\xff\xff\x0f", b"\x80" * 12, b"\x00")
                )
            case 4:
                chunk = edited[at : at + rng.randint(1, 60)]
                edited[at:at] = chunk * rng.choice((1, 2, 200))
            case _:
                del edited[at : at + rng.randint(1, 12)]
    return bytes(edited)


if __name__ == "__main__":
    main()
