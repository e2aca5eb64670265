"""Reads and verifies damaged GE files in a process of its own, with limits on time and memory.

`python -m tests.fuzz.mutate_air START COUNT` makes the cases START to START + COUNT - 1 (a case depends on its number
alone), and prints a JSON summary. A case is a `.air` or a text dump; it may end in a model with diagnostics or without,
or in the refusal to read it. Anything else, 5 seconds of processor time in one of `READERS` or 1 GiB of memory is a
failure.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import math
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from amctc.air.files import air_bytes, read_air
from amctc.air.schema import ModelDef, new
from amctc.air.text_dump import dump_text, is_text_dump, read_text_dump
from amctc.air.text_scan import scan_text
from amctc.air.verify import verify_file
from amctc.diagnostics import Collector, DiagnosticError, Level, render
from amctc.frontends.ge import load_ge
from amctc.runtime.executor import Executor, graph_inputs
from amctc.targets.ge.ascend import AscendForm
from amctc.targets.ge.model import model_message
from tests.air.ge_files import WHOLE
from tests.fuzz.damaged_files import damaged_bytes, damaged_text

SECONDS = 5
MEBIBYTES = 1024
_HANGS = 60
_NUMBERS = (0, 1, -1, -2, -9, 2, 3, 7, 99, 255, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
_FLOATS = (0.0, -0.0, -1.0, 1e-45, 1e38, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    *(
        "",
        ":",
        ":0",
        ":-1",
        "a:0",
        "a:b:1",
        "NCHW",
        "ND",
        "FORMAT_RESERVED",
        "FRACTAL_Z:4",
        "Data",
        "Const",
        "NetOutput",
    ),
    *("value", "index", "x" * 5000, "\u0000", "\u2603\ufffd", "a\nb", "\x1b[31m", "__input0", "PartitionedCall"),
)


class TooLong(Exception):
    """A case took more than its time."""


def _verify(path: Path) -> str:
    found = verify_file(path)
    for diagnostic in found:
        if not diagnostic.message or len(render(diagnostic)) > 20_000:
            raise ValueError(f"a diagnostic that says nothing or too much: {diagnostic.code}")
    if any(each.code == "AM350" or each.code.startswith("AM1") for each in found):
        return "not read"
    if any(each.level is Level.ERROR for each in found):
        return "errors"
    return "warnings" if found else "right"


def _write_again(path: Path) -> None:
    """A model that can be read is written as text and as bytes, and both read to what it is."""
    try:
        model = read_text_dump(path) if is_text_dump(path) else read_air(path)
    except DiagnosticError:
        return
    data = air_bytes(model)
    again = new("ModelDef")
    again.ParseFromString(data)
    if air_bytes(again) != data:
        raise ValueError("the bytes do not read back")
    text = dump_text(model)
    if len(text) > LONGEST_TEXT:
        return
    read = new("ModelDef")
    # An unknown number of an enum is left to the other reader, which refuses it.
    if scan_text(text, read) is None and dump_text(read) != text:
        raise ValueError("the text does not read back")


def _load(path: Path) -> None:
    """A model that is loaded as a graph is written again, and is run where it can be: `DiagnosticError` or numbers."""
    with contextlib.suppress(DiagnosticError):
        graph = load_ge(path, Collector())
        air_bytes(model_message(graph, AscendForm()))
        inputs = graph_inputs(graph)
        sizes = [math.prod(value.shape or ()) for node in graph.nodes for value in node.outputs]
        if max(sizes, default=0) > LARGEST_RUN or any(value.shape is None for value in inputs.values()):
            return
        feeds = {name: np.ones(value.shape or (), value.dtype) for name, value in inputs.items()}
        Executor(graph, finite=False).run(feeds)


LONGEST_TEXT = 1 << 23
"""Characters of a text that is read back: a second reads about 4 million."""

LARGEST_RUN = 1 << 20
"""Elements of the largest value in a graph that is run."""

READERS: Sequence[Callable[[Path], str | None]] = (_verify, _write_again, _load)
"""What is done with each damaged file; the first says how it ended. All else than a `DiagnosticError` is a failure."""


@cache
def samples() -> Sequence[bytes]:
    """The files that GE has written."""
    return [path.read_bytes() for path in WHOLE]


def write_case(random: Random, folder: Path) -> Path:
    """One damaged file: its bytes, its fields, both, or the text of it."""
    data = random.choice(samples())
    kind = random.random()
    if kind < 0.2:
        return _written(folder / "net.air", damaged_bytes(random, data))
    model = new("ModelDef")
    model.ParseFromString(data)
    if kind < 0.3:
        text = damaged_text(random, dump_text(model, random.choice((1, 2, 2))))
        return _written(folder / "ge_proto_00000000_net.txt", text.encode("utf-8", "surrogatepass"))
    for _ in range(random.choice((1, 1, 2, 3, 10))):
        with contextlib.suppress(DecodeError):  # what nests too deeply cannot be copied
            damage(model, random)
    if kind < 0.4:
        text = dump_text(model)
        return _written(folder / "ge_proto_00000000_net.txt", text.encode())
    data = air_bytes(model)
    return _written(folder / "net.air", damaged_bytes(random, data) if kind < 0.5 else data)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def damage(model: ModelDef, random: Random) -> None:
    """Change one thing somewhere in a model, or the way in which many things hang together."""
    ops = [op for graph in model.graph for op in graph.op]
    match random.randrange(12):
        case 0 if ops:
            _rewire(random.choice(ops), ops, random)
        case 1 if ops:
            op = random.choice(ops)
            op.attr[random.choice(_TEXTS)].CopyFrom(_attribute(random, ops))
        case 2 if model.graph:
            graph = random.choice(model.graph)
            graph.op.extend(_copies(graph.op, random))
        case 3 if model.graph:
            model.graph.extend(_copies(model.graph, random))
            if ops:
                random.choice(ops).subgraph_name.append(random.choice(model.graph).name)
        case 4 if ops:
            _nest(random.choice(ops).attr, random)
        case _:
            _change_a_field(model, random)


def _copies(messages: Any, random: Random) -> list[Any]:
    """Copies of one of the messages: a few, or very many of a small one."""
    if not len(messages):
        return []
    found = random.choice(messages)
    made = type(found)()
    made.CopyFrom(found)
    return [made] * random.choice((1, 2, 200 if found.ByteSize() < 500 else 10))


def _rewire(op: Any, ops: Sequence[Any], random: Random) -> None:
    source = random.choice(ops).name if random.random() < 0.8 else random.choice(_TEXTS)
    text = f"{source}:{random.choice((0, 0, 0, 1, -1, -5, 'x', ''))}"
    if op.input and random.random() < 0.6:
        op.input[random.randrange(len(op.input))] = text
    else:
        op.input.extend([text] * random.choice((1, 1, 300)))


def _attribute(random: Random, ops: Sequence[Any]) -> Any:
    """An attribute of the model's own, or a new one of any kind."""
    attr = new("AttrDef")
    known = [found for op in ops for found in op.attr.values()]
    if known and random.random() < 0.5:
        attr.CopyFrom(random.choice(known))
        return attr
    match random.randrange(6):
        case 0:
            attr.list.val_type = random.choice((0, 1, 2, 3, 7, 10, 99, -1))
            attr.list.i.extend([random.choice(_NUMBERS)] * random.choice((0, 1, 1000)))
        case 1:
            attr.t.desc.dtype = random.choice((0, 1, 3, 13, 28, 99))
            attr.t.desc.shape.dim.extend([random.choice(_NUMBERS)] * random.choice((0, 1, 4, 100)))
            attr.t.data = bytes(random.choice((0, 1, 4, 100)))
        case 2:
            attr.f = random.choice(_FLOATS)
        case 3:
            attr.g.op.add(name=random.choice(_TEXTS), type=random.choice(_TEXTS), input=[random.choice(_TEXTS)])
        case 4:
            attr.list_list_float.list_list_f.add().list_f.extend(_FLOATS)
        case _:
            attr.SetInParent()
    return attr


def _nest(attrs: Any, random: Random) -> None:
    """Attributes in attributes, as deep as messages may be read and a little deeper."""
    name = random.choice(_TEXTS)
    for _ in range(random.choice((1, 5, 15, 20, 24, 30, 35))):
        attr = attrs[name]
        match random.randrange(4):
            case 0:
                attrs = attr.func.attr
            case 1:
                attrs = attr.td.attr
            case 2:
                attrs = attr.g.attr
            case _:
                attr.list.val_type = 9
                attrs = attr.list.na.add().attr


def _change_a_field(message: Any, random: Random) -> None:
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = random.choice(fields)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            keys = sorted(value)
            key = random.choice(keys)
            if random.random() < 0.2 or field.message_type.fields_by_name["value"].message_type is None:
                del value[key]
                return
            message = value[key]
            continue
        if field.message_type is None or random.random() < 0.15:
            _change(message, field, value, random)
            return
        message = random.choice(value) if field.is_repeated else value


def _change(message: Any, field: Any, value: Any, random: Random) -> None:
    if not field.is_repeated:
        if field.message_type is not None or random.random() < 0.2:
            message.ClearField(field.name)
        else:
            _put(lambda new_value: setattr(message, field.name, new_value), value, random)
        return
    at = random.randrange(len(value))
    match random.randrange(4):
        case 0:
            del value[at]
        case 1 if field.message_type is None:
            value.extend([value[at]] * random.choice((1, 2, 1000)))
        case 2:
            del value[at:]
        case _ if field.message_type is None:
            _put(lambda new_value: value.__setitem__(at, new_value), value[at], random)
        case _:
            value[at].Clear()


def _put(put: Callable[[Any], object], value: Any, random: Random) -> None:
    """Put another value in the place of one; where the field cannot hold it, a small one."""
    try:
        put(_other(value, random))
    except ValueError:
        put(1)


def _other(value: Any, random: Random) -> Any:
    if isinstance(value, str):
        return random.choice(_TEXTS)
    if isinstance(value, bytes):
        return random.choice((b"", b"\xff", value[: len(value) // 2], value * 2, random.choice(_TEXTS).encode()))
    if isinstance(value, bool):
        return not value
    return random.choice(_FLOATS) if isinstance(value, float) else random.choice(_NUMBERS)


def main() -> None:
    start, count = int(sys.argv[1]), int(sys.argv[2])
    samples()
    for reader in READERS:
        reader(WHOLE[0])
    most = _resident() + (MEBIBYTES << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    warnings.simplefilter("error")
    signal.signal(signal.SIGVTALRM, _stop)
    ends: Counter[str | None] = Counter()
    failures: list[str] = []
    slowest = (0.0, -1)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(start, start + count):
            faulthandler.dump_traceback_later(_HANGS, exit=True)
            path = write_case(Random(number), Path(folder))
            told: list[str | None] = []
            for reader in READERS:
                began = time.process_time()
                signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
                try:
                    told.append(reader(path))
                except Exception:
                    failures.append(f"case {number}: {traceback.format_exc()[-1500:]}")
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                slowest = max(slowest, (round(time.process_time() - began, 2), number))
            ends.update(told[:1])
    faulthandler.cancel_dump_traceback_later()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    summary = {"cases": count, "ends": ends, "failures": failures, "slowest (s, case)": slowest, "peak (MiB)": peak}
    print(json.dumps(summary))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS} s")


if __name__ == "__main__":
    main()
