"""Reads and runs damaged Caffe models in a process of its own, with limits on time and memory.

`python -m tests.fuzz.mutate_models START COUNT` makes the cases START to START + COUNT - 1 (a case
depends on its number alone), and prints a JSON summary. A case may end in a graph that is printed and
written (and run, where its blobs are not large), or in a diagnostic; anything else, 5 seconds of
processor time or 1 GiB of memory is a failure.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import math
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector, DiagnosticError
from amctc.dialects.caffe.schema import NET, caffe_schema
from amctc.dialects.table import op_def
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.ir.printer import print_graph
from amctc.runtime.executor import graph_inputs, run_graph
from amctc.targets.caffe.files import caffemodel, prototxt
from tests.fuzz.damaged_files import damaged_bytes, damaged_text
from tests.fuzz.damaged_nets import FLOATS, damage, join_weights, parse_net
from tests.fuzz.model_samples import Sample, samples

SECONDS = 5
MEBIBYTES = 1024
MOST_ELEMENTS = 1 << 20
"""A net of a larger blob, or of sixteen times as much in all, is read, but not run."""

_HANGS = 60
"""Seconds of the clock after which the process gives up and tells where it hangs."""
_BINARY = ".binaryproto"

Files: TypeAlias = tuple[Path, Path | None]


class TooLong(Exception):
    """A case took more than its time."""


def main() -> None:
    start, count = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGVTALRM, _stop)
    warnings.simplefilter("error")
    samples()
    ends = {"graph": 0, "run": 0, "diagnostic": 0, "diagnostic of the run": 0}
    failures: list[dict[str, object]] = []
    slowest, largest = (0.0, -1), (0, -1)
    _limit_memory()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, start + count):
            print(f"case {number}", file=sys.stderr, flush=True)
            before = _resident()
            faulthandler.dump_traceback_later(_HANGS, exit=True)
            rng = Random(number)
            files = write_case(rng, Path(folder))
            began = time.process_time()
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                ends[_end_of(rng, *files)] += 1
            except Exception as problem:
                where = traceback.format_exc().strip().splitlines()[-8:]
                failures.append({"case": number, "problem": repr(problem)[:300], "where": where})
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            faulthandler.cancel_dump_traceback_later()
            spent, grown = time.process_time() - began, _peak() - before
            slowest, largest = max(slowest, (round(spent, 2), number)), max(largest, (grown, number))
            if spent > SECONDS:
                failures.append({"case": number, "problem": f"{spent:.1f} s", "where": []})
            if grown > MEBIBYTES:
                failures.append({"case": number, "problem": f"{grown} MiB of memory", "where": []})
            _forget_peak()
    summary = {"cases": count, "ends": ends, "failures": failures}
    print(json.dumps(summary | {"slowest (s, case)": slowest, "largest (MiB, case)": largest}))


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS} s")


def _limit_memory() -> None:
    """Twice what a case may take, so that one which takes far more ends in an error and not on the machine's swap."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = now + 2 * MEBIBYTES * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _peak() -> int:
    """The most memory this process has held since `_forget_peak`, in MiB."""
    return _status("VmHWM")


def _resident() -> int:
    """The memory this process holds, in MiB."""
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024


def _forget_peak() -> None:
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def _end_of(rng: Random, model: Path, weights: Path | None) -> str:
    end = "diagnostic"
    try:
        graph = load_model(model, weights, Collector())
        end = "diagnostic of the run"
        print_graph(graph, elide_weights=True)
        prototxt(graph)
        caffemodel(graph, fake=False)
        if not _is_small(graph):
            return "graph"
        run_graph(graph, _feeds(rng, graph), threads=1)
    except DiagnosticError as told:
        if not told.diagnostics or not all(diagnostic.message for diagnostic in told.diagnostics):
            raise ValueError("a diagnostic that says nothing") from told
        if any(diagnostic.code == "AM421" for diagnostic in told.diagnostics):
            raise
        str(told)
        return end
    return "run"


def _is_small(graph: Graph) -> bool:
    shapes = [value.shape for node in graph for value in node.outputs]
    sizes = [0 if shape is None else math.prod(shape) for shape in shapes]
    return max(sizes, default=0) <= MOST_ELEMENTS and sum(sizes) <= 16 * MOST_ELEMENTS


def _feeds(rng: Random, graph: Graph) -> Mapping[str, Any]:
    """Numbers of one kind for every input: those of the usual size, whole ones, huge ones, all the same."""
    kind = rng.randrange(6)
    inputs = graph_inputs(graph).items()
    return {name: _numbers(rng, kind, value.shape or (1, 3, 4, 4)) for name, value in inputs}


def _numbers(rng: Random, kind: int, shape: Shape) -> NDArray[np.float32]:
    source = np.random.default_rng(rng.randrange(1 << 30))
    match kind:
        case 0 | 1:
            return source.normal(size=shape).astype(np.float32)
        case 2:
            return source.integers(0, 3, shape).astype(np.float32)
        case 3:
            return source.integers(-300, 300, shape).astype(np.float32)
        case 4:
            return source.choice(np.array([0, 1, -1, 1e38, -1e38, 1e-45, 1e9], np.float32), shape)
        case _:
            return np.full(shape, rng.choice((0.0, 0.5, -1.0, 3e38)), np.float32)


def write_case(rng: Random, folder: Path) -> Files:
    """The files of one case: a net and perhaps its weights, one of the two damaged."""
    (family,) = rng.choices(samples(), [math.sqrt(len(family)) for family in samples()])
    sample = rng.choice(family)
    match rng.randrange(10):
        case 0 | 1 if sample.weights is not None:
            return _written(folder, sample.text, damaged_bytes(rng, sample.weights))
        case 2 | 3:
            return _written(folder, damaged_text(rng, sample.text), sample.weights)
        case 4 | 5:
            return _binary_case(rng, folder, sample)
        case _:
            return _net_case(rng, folder, sample)


def _written(folder: Path, text: str, weights: bytes | None) -> Files:
    model, place = folder / "net.prototxt", folder / "net.caffemodel"
    # A text may hold characters that UTF-8 does not.
    model.write_bytes(text.encode("utf-8", "surrogatepass"))
    if weights is None:
        return model, None
    place.write_bytes(weights)
    return model, place


def _binary_case(rng: Random, folder: Path, sample: Sample) -> Files:
    """A binary net, with its weights in it or not; damaged in its fields, its bytes or both."""
    net = parse_net(sample.text)
    if net is None:
        return _written(folder, damaged_text(rng, sample.text), sample.weights)
    inside = sample.weights is not None and rng.random() < 0.7
    if inside:
        join_weights(net, sample.weights or b"")
    in_fields = rng.random() < 0.6
    if in_fields:
        damage(rng, net)
    data: bytes = net.SerializePartialToString()
    if not in_fields or rng.random() < 0.3:
        data = damaged_bytes(rng, data)
    model = (folder / "net").with_suffix(_BINARY)
    model.write_bytes(data)
    return model, None


def _net_case(rng: Random, folder: Path, sample: Sample) -> Files:
    """A prototxt with damaged fields, and often weights that fit it nevertheless, so that it is run."""
    from google.protobuf import text_format

    net = parse_net(sample.text)
    if net is None:
        return _written(folder, damaged_text(rng, sample.text), sample.weights)
    damage(rng, net)
    text = text_format.MessageToString(net, as_utf8=True)
    files = _written(folder, text, sample.weights)
    if sample.quantized or rng.random() < 0.3:
        return files
    return _written(folder, text, _fitting_weights(rng, files[0]))


def _fitting_weights(rng: Random, model: Path) -> bytes | None:
    """Random weights for a net, if it is one that has some and they are not large."""
    try:
        graph = load_model(model, None, Collector())
    except DiagnosticError:
        return None
    wanted = {node.name: _weight_shapes(node) for node in graph}
    if not 0 < sum(math.prod(shape) for shapes in wanted.values() for shape in shapes) <= MOST_ELEMENTS:
        return None
    kind = rng.choice((0, 0, 0, 3, 4))
    stored: Any = caffe_schema().message(NET)()
    for name, shapes in wanted.items():
        if not shapes:
            continue
        layer = stored.layer.add()
        layer.name = name
        for shape in shapes:
            blob = layer.blobs.add()
            blob.shape.dim.extend(shape)
            numbers = _numbers(rng, kind, shape).ravel()
            if numbers.size and rng.random() < 0.1:
                numbers[rng.randrange(numbers.size)] = rng.choice(FLOATS)
            blob.data.extend(numbers)
    data: bytes = stored.SerializeToString()
    return data


def _weight_shapes(node: Node) -> tuple[Shape, ...]:
    inputs = tuple(value.shape for value in node.inputs if value.shape is not None)
    if len(inputs) < len(node.inputs):
        return ()
    return tuple(op_def(node).weight_shapes(node, inputs).values())


if __name__ == "__main__":
    main()
