"""`.pt2` files become programs without anything in them being run."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.frontends.torch.program_checks import is_plain_op
from amctc.frontends.torch.program_file import read_program
from amctc.frontends.torch.sym_expressions import is_plain_expression

PROGRAM = "m/models/model.json"
WEIGHTS = "m/data/weights/model_weights_config.json"
CONSTANTS = "m/data/constants/model_constants_config.json"
SAMPLES = "m/data/sample_inputs/model.pt"


class Net(nn.Module):
    """Something of each kind that a file holds: parameters, a buffer, a constant; and a free axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 3, bias=False)])
        self.factor: Tensor
        self.register_buffer("factor", torch.arange(4.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).mean((2, 3)) * self.factor + torch.tensor([1.0, 2.0, 3.0, 4.0])
        for block in self.blocks:
            x = torch.relu(block(x))
        return x.reshape(x.shape[0] * 1, -1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a program as torch writes them."""
    path = tmp_path_factory.mktemp("program") / "m.pt2"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        free = ({0: torch.export.Dim.DYNAMIC},)
        torch.export.save(torch.export.export(Net().eval(), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=free), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(files: dict[str, bytes], path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def changed(files: dict[str, bytes], name: str, change: Callable[[Any], object]) -> dict[str, bytes]:
    """The files with a change in one of JSON."""
    said = json.loads(files[name])
    change(said)
    return files | {name: json.dumps(said).encode()}


class Bomb:
    """What makes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return eval, (f"open({str(self.trace)!r}, 'w').close()",)


def test_a_program_is_the_module_that_it_was(whole: dict[str, bytes], tmp_path: Path) -> None:
    graph = load_model(written(whole, tmp_path / "m.pt2"))
    assert {
        node.name: node.type for node in graph.nodes if node.weights and node.type in ("Conv", "Gemm", "MatMul")
    } == {
        "conv": "Conv",
        "blocks.0": "Gemm",
        "blocks.1": "MatMul",
    }
    torch.manual_seed(0)
    x = torch.randn(3, 1, 8, 8)
    torch.manual_seed(0)
    with torch.no_grad():
        wanted = Net().eval()(x).numpy()
    torch.manual_seed(0)
    (output,) = graph.outputs
    np.testing.assert_allclose(amctc.run(graph, {"x": x.numpy()})[output.blob], wanted, rtol=0, atol=1e-6)


def test_sample_inputs_are_not_read(whole: dict[str, bytes], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bomb = pickle.dumps(Bomb(trace))
    buffer = io.BytesIO()
    torch.save(Bomb(trace), buffer)
    for content in (bomb, buffer.getvalue()):
        read_program(written(whole | {SAMPLES: content}, tmp_path / "m.pt2"))
    assert not trace.exists()


@pytest.mark.parametrize("file", [WEIGHTS, CONSTANTS])
@pytest.mark.parametrize("place", ["weight_0", "tensor_0", "custom_obj_0", "opaque_obj_0", "../../x"])
def test_pickled_tensors_and_objects_are_refused(
    whole: dict[str, bytes], tmp_path: Path, file: str, place: str
) -> None:
    trace = tmp_path / "trace"
    folder = file.rpartition("/")[0]

    def make_pickle(said: Any) -> None:
        first = next(iter(said["config"].values()))
        first.update(path_name=place, use_pickle=True)

    hostile = changed(whole, file, make_pickle) | {f"{folder}/{place}": pickle.dumps(Bomb(trace))}
    with pytest.raises(DiagnosticError, match=r"AM483.*pickled"):
        read_program(written(hostile, tmp_path / "m.pt2"))
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["weights", "constants"])
def test_the_pickles_of_older_files_are_refused(whole: dict[str, bytes], tmp_path: Path, kind: str) -> None:
    trace = tmp_path / "trace"
    files = {name: content for name, content in whole.items() if f"model_{kind}_config" not in name}
    hostile = files | {f"m/data/{kind}/model.pt": pickle.dumps(Bomb(trace))}
    with pytest.raises(DiagnosticError, match=r"AM483.*the pickle"):
        read_program(written(hostile, tmp_path / "m.pt2"))
    assert not trace.exists()


def _first_node(program: Any) -> Any:
    return program["graph_module"]["graph"]["nodes"][0]


def _set_op(program: Any, op: str) -> None:
    _first_node(program)["target"] = op


def _set_expression(program: Any, text: str) -> None:
    values = program["graph_module"]["graph"]["tensor_values"]
    values["x"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}


def _set_spec(program: Any, type: str, context: str) -> None:
    tree = {"type": type, "context": context, "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, tree])


HOSTILE: dict[str, Callable[[Any], object]] = {
    "a function of the system": lambda program: _set_op(program, "torch.os.system"),
    "a function of torch": lambda program: _set_op(program, "torch.load"),
    "an operator that calls": lambda program: _set_op(program, "_operator.call"),
    "an extension": lambda program: _set_op(program, "#own:op"),
    "an op that reads files": lambda program: _set_op(program, "torch.ops.aten.from_file.default"),
    "an op of another library": lambda program: _set_op(program, "torch.ops.own.op.default"),
    "an expression that calls": lambda program: _set_expression(program, "__import__('os').system('true')"),
    "an expression of attributes": lambda program: _set_expression(program, "Integer.__class__"),
    "a power without end": lambda program: _set_expression(program, "Pow(Integer(9), Pow(Integer(9), Integer(9)))"),
    "a name that is code": lambda program: _first_node(program).update(name="x):\n    import os #"),
    "a type that is imported": lambda program: _set_spec(program, "collections.defaultdict", '["antigravity", "x"]'),
    "a key that is code": lambda program: _set_spec(program, "builtins.dict", '["a: int = print(1)"]'),
    "an object": lambda program: program["graph_module"]["graph"]["custom_obj_values"].update(x={"name": "x"}),
    "a parameter that is code": lambda program: program["graph_module"]["signature"]["input_specs"][0][
        "parameter"
    ].update(parameter_name="a'); print('"),
    "a counter without end": lambda program: program["range_constraints"].update(
        u99999999999={"min_val": 0, "max_val": 1}
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_torch_would_run_is_refused(whole: dict[str, bytes], tmp_path: Path, what: str) -> None:
    path = written(changed(whole, PROGRAM, HOSTILE[what]), tmp_path / "m.pt2")
    with pytest.raises(DiagnosticError, match=r"AM483") as refusal:
        read_program(path)
    assert len(str(refusal.value)) < 800


def test_guards_and_notes_are_left_out(whole: dict[str, bytes], tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def add(program: Any) -> None:
        program["guards_code"] = [f"open({str(trace)!r}, 'w').close() or True"]
        _first_node(program)["metadata"]["stack_trace"] = "File 'x'\n    import os"
        _first_node(program)["metadata"]["custom"] = "[" * 100_000

    program = read_program(written(changed(whole, PROGRAM, add), tmp_path / "m.pt2"))
    program.module()(torch.zeros(2, 1, 8, 8))
    assert not trace.exists()


def _deep(program: Any) -> None:
    inner: Any = {}
    for _ in range(400):
        inner = {"x": inner}
    program["graph_module"]["graph"]["inner"] = inner


def _larger(listing: Any) -> None:
    next(iter(listing["config"].values()))["tensor_meta"]["sizes"][0] = {"as_int": 1 << 40}


def _repeated(listing: Any) -> None:
    meta = next(iter(listing["config"].values()))["tensor_meta"]
    meta.update(sizes=[{"as_int": 1 << 40}], strides=[{"as_int": 0}])


def damaged(whole: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    cut = whole[PROGRAM][:-20]
    return {
        "nothing": {},
        "no program": {name: content for name, content in whole.items() if name != PROGRAM},
        "no JSON": whole | {PROGRAM: cut},
        "nested": whole | {PROGRAM: b"[" * 100_000 + b"]" * 100_000},
        "nested parts": changed(whole, PROGRAM, _deep),
        "another thing": whole | {PROGRAM: b"[1, 2]"},
        "no graph": whole | {PROGRAM: b"{}"},
        "a tensor beyond its file": changed(whole, WEIGHTS, _larger),
        "a tensor that repeats itself": changed(whole, WEIGHTS, _repeated),
        "a tensor without a file": {name: content for name, content in whole.items() if not name.endswith("weight_1")},
        "two folders": whole | {"n/x": b""},
        "a node that reads nothing": changed(
            whole, PROGRAM, lambda program: _first_node(program)["inputs"][0]["arg"]["as_tensor"].update(name="nothing")
        ),
    }


def test_damaged_files_are_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    for what, files in damaged(whole).items():
        path = written(files, tmp_path / "m.pt2")
        with pytest.raises(DiagnosticError, match=r"AM482") as refusal:
            read_program(path)
        assert len(refusal.value.diagnostics) == 1, what


def test_a_compressed_archive_is_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    path = written(whole | {"m/x": bytes(1 << 20)}, tmp_path / "m.pt2", zipfile.ZIP_DEFLATED)
    with pytest.raises(DiagnosticError, match=r"AM482.*compressed"):
        read_program(path)


def test_what_is_no_archive_is_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    path = written(whole, tmp_path / "m.pt2")
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "words.pt2").write_text("words")
    for name in ("m", "folder", "words", "missing"):
        with pytest.raises(DiagnosticError, match=r"AM482"):
            read_program(tmp_path / f"{name}.pt2")


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Add(Mul(Integer(2), Symbol('s0', integer=True)), Integer(-1))",
        "FloorDiv(Symbol('s77'), Integer(2))",
        "Pow(Symbol('s0'), Integer(2))",
        "Eq(Mod(s77, 2), 0)",
        "8",
        "-3",
    ],
)
def test_expressions_of_sizes_are_plain(text: str) -> None:
    assert is_plain_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "exec('x')",
        "x.y",
        "[1][0]",
        "(lambda: 1)()",
        "Symbol(open('x'))",
        "9**9**9",
        "Pow(Integer(9), Integer(9))",
        "",
        "f'{x}'",
    ],
)
def test_other_expressions_are_not(text: str) -> None:
    assert not is_plain_expression(text)


@pytest.mark.parametrize("op", ["torch.ops.aten.conv2d.default", "_operator.mul", "torch.sym_max", "math.floor"])
def test_ops_of_torch_are_plain(op: str) -> None:
    assert is_plain_op(op)
