"""What a call loads, reads and copies: the structure that keeps it short, not its time."""

from __future__ import annotations

import builtins
import io
import json
import os
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import amctc
from amctc.ir import Graph
from amctc.pipeline.context import Context
from amctc.pipeline.instrument import Instrument, PassRun
from tests.onnx_nets import make_model, normal

DEMO = Path(amctc.__file__).parent / "demo"
CAFFE = (
    "amctc.dialects.caffe",
    "amctc.frontends.caffe",
    "amctc.runtime.hostops.caffe_layers",
    "amctc.runtime.lowering.caffe_rules",
    "amctc.targets.caffe",
    "amctc.targets.onnx.caffe",
)
PACKAGES = (
    "amctc",
    "amctc.driver",
    "amctc.frontends.caffe",
    "amctc.instruments",
    "amctc.policy",
    "amctc.reproducer",
)
HEAVY = frozenset({"google", "jsonschema", "lark", "numpy", "onnx", "onnxruntime", "PIL", "pydantic", "rich"})


def modules_after(code: str) -> set[str]:
    """The modules that a new interpreter has loaded after a program."""
    told = f"{code}\nimport json, sys\nsys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*arguments: str) -> str:
    """A program that is a call of the command line."""
    return (
        f"import sys\nsys.argv = ['amctc', *{arguments!r}]\n"
        "from amctc.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )


def test_help_loads_none_of_the_libraries() -> None:
    loaded = modules_after(command("--help"))
    assert not HEAVY & {name.partition(".")[0] for name in loaded}


def test_importing_amctc_loads_nothing_that_nobody_asked_for() -> None:
    before = modules_after("")
    assert {name for name in modules_after("import amctc") - before if name.startswith("amctc")} == {
        "amctc",
        "amctc.on_demand",
    }


def test_a_compilation_loads_no_other_command_and_no_other_format(tmp_path: Path) -> None:
    files = [str(DEMO / "digits.prototxt"), str(DEMO / "digits.caffemodel")]
    options = ["--policy", str(DEMO / "policy.cfg"), "--data", str(DEMO / "calibration.npz"), "--batch-size", "32"]
    loaded = modules_after(command("compile", *files, *options, "--output", str(tmp_path / "net")))
    assert "amctc.driver.quantize" in loaded
    unwanted = (
        "amctc.aipp",
        "amctc.air",
        "amctc.dialects.ge.ops",
        "amctc.driver.comparison",
        "amctc.driver.conversion",
        "amctc.driver.ge",
        "amctc.frontends.ge",
        "amctc.frontends.onnx",
        "amctc.reproducer.write",
        "amctc.targets.ge",
        "jsonschema",
    )
    assert [name for name in loaded if name.startswith(unwanted)] == []


def test_a_compilation_of_an_onnx_model_loads_nothing_of_other_dialects_nor_what_nobody_asked_for(
    tmp_path: Path,
) -> None:
    model, data = tmp_path / "net.onnx", tmp_path / "data.npy"
    text = "y = Conv(x, weight)"
    made = make_model("(float[N, 2, 5, 5] x) => (float[N, 3, 3, 3] y)", text, {"weight": normal((3, 2, 3, 3))})
    model.write_bytes(made.SerializeToString())
    np.save(data, normal((1, 2, 5, 5)))
    policy = tmp_path / "policy.cfg"
    policy.write_text("batch_num: 1\n", encoding="utf-8")
    options = ["--policy", str(policy), "--data", str(data), "--batch-size", "1"]
    loaded = modules_after(command("compile", str(model), *options, "--output", str(tmp_path / "net")))
    assert "amctc.targets.onnx.qdq" in loaded
    assert {name for name in loaded if name.startswith(CAFFE)} == {
        "amctc.dialects.caffe",
        "amctc.dialects.caffe.blobs",
        "amctc.frontends.caffe",
        "amctc.frontends.caffe.net_state",
    }
    unwanted = (
        "amctc.aipp",
        "amctc.air",
        "amctc.dialects.ge.ops",
        "amctc.dialects.ge.prototype",
        "amctc.dialects.kin",
        "amctc.driver.calibrating",
        "amctc.driver.checkpoint",
        "amctc.driver.comparison",
        "amctc.driver.kv_cache",
        "amctc.driver.run",
        "amctc.policy.explained",
        "amctc.policy.resolve_training",
        "amctc.policy.write_json",
        "amctc.quant.snq_lloyd",
        "amctc.runtime.images",
        "amctc.runtime.label_table",
        "amctc.runtime.preprocess",
        "amctc.runtime.shards",
        "amctc.scaleout",
        "amctc.text.proto_compiler",
        "amctc.text.proto_syntax",
        "jsonschema",
        "statistics",
    )
    assert [name for name in loaded if name.startswith(unwanted)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_names_on_demand_are_there_and_no_module_is_called_like_one(package: str) -> None:
    module: Any = import_module(package)
    folder, there = Path(module.__file__).parent, set(vars(module))
    for name in module.__all__:
        assert not isinstance(getattr(module, name), ModuleType | None), f"`{package}.{name}` is a module"
        if name not in there:
            assert not (folder / f"{name}.py").exists(), f"an import of `{package}.{name}` would hide the name"
    with pytest.raises(AttributeError, match="has no attribute `nothing`"):
        _ = module.nothing


class WeightsOfEachPass(Instrument):
    """The arrays of each layer after every pass."""

    def __init__(self) -> None:
        self.begun: dict[tuple[str, str], Any] = {}
        self.copied: list[str] = []

    def begin(self, pipeline: Any, graph: Graph, context: Context) -> None:
        self.begun = {(node.name, role): array for node in graph.nodes for role, array in node.weights.items()}

    def after(self, run: PassRun, graph: Graph, context: Context) -> None:
        for node in graph.nodes:
            for role, array in node.weights.items():
                first = self.begun.get((node.name, role))
                same = first is not None and first.dtype == array.dtype and np.array_equal(first, array)
                if same and not np.shares_memory(first, array):
                    self.copied.append(f"{run.name} copies `{role}` of `{node.name}`")


def test_a_compilation_reads_weights_and_policy_once_and_copies_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: Counter[str] = Counter()
    opener = io.open

    def counted(file: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(file, str | os.PathLike):
            opened[Path(file).name] += 1
        return opener(file, *arguments, **named)

    monkeypatch.setattr(io, "open", counted)  # what pathlib calls
    monkeypatch.setattr(builtins, "open", counted)
    weights = WeightsOfEachPass()
    amctc.compile(
        DEMO / "digits.prototxt",
        DEMO / "digits.caffemodel",
        policy=DEMO / "policy.cfg",
        data=DEMO / "calibration.npz",
        batch_size=32,
        output=tmp_path / "net",
        instruments=[weights],
    )
    # Of the net its first bytes are looked at before: they say whether it is text.
    wanted = {"digits.prototxt": 2, "digits.caffemodel": 1, "policy.cfg": 1}
    assert {name: opened[name] for name in wanted} == wanted
    assert weights.begun
    assert weights.copied == []
