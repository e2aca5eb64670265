"""Reads and runs damaged ONNX models in a process of its own, with limits on time and memory.

`python -m tests.fuzz.mutate_onnx START COUNT` makes the cases START to START + COUNT - 1 (a case depends on its number
alone), and prints a JSON summary. A case may end in a graph that is printed, read back and run where it is small, or
in a diagnostic; anything else, 5 seconds of processor time or 2 GiB of memory is a failure.
"""

from __future__ import annotations

import faulthandler
import json
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import numpy as np
from onnx import ModelProto

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.onnx.element_types import numpy_type
from amctc.frontends.onnx import load_onnx
from amctc.ir import Graph
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.runtime.executor import Executor, read_inputs
from amctc.source import SourceFile
from tests.frontends.onnx.models import model_of

SECONDS = 5
GIBIBYTES = 2
MOST_ELEMENTS = 1 << 16
_HANGS = 60
_NUMBERS = (0, 1, -1, 2, 7, 64, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, -(1 << 63))
_TEXTS = ("", "x", "y", "Conv", "If", "Loop", "no.domain", "\u0000", "a b", '"', "1x", "\u2603", "ai.onnx.ml")

_CONV = """g (float[N, 3, 8, 8] x) => (float[N, 4] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, k, b) c = Clip (a, low, high) d = GlobalAveragePool (c) s = Shape (d)
  n = Gather <axis = 0> (s, zero) u = Unsqueeze (n, axes) t = Concat <axis = 0> (u, rest) y = Reshape (d, t)
}"""
_BRANCHES = """g (float[3] x, bool c) => (float[3] y, int64[M] z) {
  y = If (c) <then_branch = t () => (float[3] p) { p = Add (x, w) },
              else_branch = e () => (float[3] q) { q = Neg (x) }>
  m = Greater (x, w) z0 = NonZero (m) z = Flatten <axis = 0> (z0)
}"""
_ATTENTION = """g (float[N, 4, 8] x, int64[N] i) => (float[N, 4, 8] y) {
  a = MatMul (x, w) q, k = Split <axis = -1> (a) l = Transpose <perm = [0, 2, 1]> (k) m = MatMul (q, l)
  s = Softmax <axis = -1> (m) o = MatMul (s, x) y = LayerNormalization (o, g)
}"""


class TooLong(Exception):
    """A case took more than its time."""


def samples() -> list[bytes]:
    numbers = np.random.default_rng(0)
    ints = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    conv = {"k": numbers.normal(size=(4, 3, 3, 3)).astype(np.float32), "b": np.zeros(4, np.float32), **ints}
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    made = [
        model_of(_CONV, 17, {**conv, **bounds}),
        model_of(_BRANCHES, 17, {"w": np.ones(3, np.float32)}),
        model_of(_ATTENTION, 17, {"w": np.ones((8, 16), np.float32), "g": np.ones(8, np.float32)}),
        model_of("g (float[N, 3] x) => (float[N, 3] y) { a = Softmax (x) y = Clip <max = 0.5> (a) }", 10),
        model_of("g (float[N, 3] x) => (float[N, 3] y) { y = my.domain.Gain <f = 2.0> (x) }", 17, my_domain=1),
    ]
    return [model.SerializeToString() for model in made]


def damaged(data: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return _damaged_bytes(data, random)
    model = ModelProto.FromString(data)
    for _ in range(random.randint(1, 3)):
        _damage(model, random)
    return model.SerializeToString()


def _damaged_bytes(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed[: random.randrange(len(changed))] if random.random() < 0.2 else changed)


def _damage(message: Any, random: Random) -> None:
    """Change one field somewhere below a message."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = random.choice(fields)
        if field.is_repeated and len(value):
            number = random.randrange(len(value))
            change = random.random()
            if change < 0.1:
                del value[number]
                return
            if change < 0.2:
                value.extend([value[number]])
                return
            if field.message_type is None:
                value[number] = _other(value[number], random)
                return
            message = value[number]
        elif field.message_type is not None:
            message = value
        elif random.random() < 0.1:
            message.ClearField(field.name)
            return
        else:
            try:
                setattr(message, field.name, _other(value, random))
            except ValueError:  # a number that the field does not hold
                setattr(message, field.name, 1)
            return


def _other(value: Any, random: Random) -> Any:
    if isinstance(value, str):
        return random.choice(_TEXTS)
    if isinstance(value, bytes):
        return _damaged_bytes(value, random) if value else b"\xff"
    if isinstance(value, float):
        return random.choice((0.0, -1.0, 1e30, float("inf"), float("nan")))
    return random.choice(_NUMBERS)


def end_of(data: bytes, path: Path) -> str:
    path.write_bytes(data)
    try:
        graph = load_onnx(path, Collector())
        text = print_graph(graph)
        if print_graph(parse_graph(SourceFile("graph", text))) != text:
            raise AssertionError("the text form does not give the graph again")
        return _ran(graph)
    except DiagnosticError:
        return "diagnostic"


def _ran(graph: Graph) -> str:
    sizes = [int(np.prod(value.shape, dtype=float)) for node in graph.nodes for value in node.outputs if value.shape]
    if max(sizes, default=0) > MOST_ELEMENTS or any(node.type.startswith("Constant") for node in graph.nodes):
        return "read"
    feeds = {name: np.ones(value.shape or (1,), numpy_type(value.dtype)) for name, value in read_inputs(graph).items()}
    Executor(graph, threads=1).run(feeds)
    return "run"


def main() -> None:
    start, count = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES << 30, GIBIBYTES << 30))
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGVTALRM, _stop)
    ends: Counter[str] = Counter()
    failures: list[str] = []
    whole = samples()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, start + count):
            faulthandler.dump_traceback_later(_HANGS, exit=True)
            random = Random(number)
            data = damaged(random.choice(whole), random)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                ends[end_of(data, Path(folder) / "model.onnx")] += 1
            except Exception:
                failures.append(f"case {number}: {traceback.format_exc()[-1500:]}")
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps({"cases": count, "ends": ends, "failures": failures}))


def _stop(signal: int, frame: FrameType | None) -> None:
    raise TooLong


if __name__ == "__main__":
    main()
