"""Targets of plug-ins in the commands: their options, and what they get to know of the compilation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import amctc
from amctc.compat import amct_caffe
from amctc.diagnostics import DiagnosticError
from amctc.ir import Graph
from amctc.pipeline.emission import Emission
from amctc.targets.caffe.target import CaffeTarget
from tests.compat.amct_steps import CONFIG, at_desk, ready
from tests.e2e.command import CALIBRATION, MODEL, POLICY, WEIGHTS, succeed

PLUGIN = '''\
from __future__ import annotations
import json
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal
import amctc

@amctc.register_target
@dataclass(frozen=True)
class Note(amctc.Target):
    """A note of how the graph came to be."""
    name: ClassVar[str] = "note"
    file: str = amctc.option("note", help="the name of the file, without its ending")
    indent: int = amctc.option(0, help="columns of white space", least=0, most=8)

    def emit(self, graph):
        return self.emit_with(graph, amctc.Emission())

    def emit_with(self, graph, emission):
        return {f"{self.file}.json": json.dumps(asdict(emission), indent=self.indent).encode()}

@amctc.register_target
class Old(amctc.Target):
    """Nothing but the name of the graph."""
    name: ClassVar[str] = "old"

    def emit(self, graph):
        return {"old.txt": graph.name.encode()}
'''

FILES = (MODEL, WEIGHTS, "--policy", POLICY, "--data", CALIBRATION)
TOOL = f"amctc {version('amctc')}"


@pytest.fixture
def plugin(tmp_path: Path, fresh_process: None) -> Path:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN, encoding="utf-8")
    return path


def note(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_target_takes_options_and_knows_policy_and_passes(plugin: Path, tmp_path: Path) -> None:
    wanted = ("--target", "caffe,note{file=how,indent=2},old", "--plugin", plugin, "--output", tmp_path / "net")
    succeed("compile", *FILES, *wanted)
    found = note(tmp_path / "net_how.json")
    assert found["policy_sha256"] == sha256(POLICY.read_bytes()).hexdigest()
    assert found["tool"] == TOOL
    assert found["pipeline"].startswith("fuse-batchnorm,") and found["pipeline"].endswith(",insert-quant")
    assert (tmp_path / "net_how.json").read_text(encoding="utf-8").startswith('{\n  "')
    assert (tmp_path / "net_old.txt").read_text(encoding="utf-8") == amctc.load(MODEL).name
    assert (tmp_path / "net_deploy_model.prototxt").exists()


def test_converting_knows_passes_and_no_policy(plugin: Path, tmp_path: Path) -> None:
    succeed("compile", *FILES, "--output", tmp_path / "net")
    record = tmp_path / "net_scale_offset_record.txt"
    wanted = ("--record", record, "--target", "note", "--plugin", plugin, "--output", tmp_path / "again")
    succeed("convert", MODEL, WEIGHTS, *wanted)
    found = note(tmp_path / "again_note.json")
    assert found["policy_sha256"] is None
    assert found["tool"] == TOOL
    assert "apply-record" in found["pipeline"]


@pytest.mark.parametrize("target", ["note{indent=1},old", ["note{indent=1}", "old"], ["note{indent=1},old"]])
def test_python_takes_a_text_or_several(target: str | Sequence[str], plugin: Path, tmp_path: Path) -> None:
    made = amctc.compile(
        MODEL,
        WEIGHTS,
        policy=amctc.Policy(),
        data=str(CALIBRATION),
        batch_size=8,
        target=target,
        plugins=[plugin],
        output=tmp_path / "net",
    )
    assert [path.name for path in made.files] == ["net_note.json", "net_old.txt"]
    found = note(tmp_path / "net_note.json")
    assert (found["policy_sha256"], found["pipeline"]) == (None, made.pipeline)


def test_a_wrong_option_is_told_before_the_model_is_read(plugin: Path, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        amctc.convert("no-such-model", record="no-such", target=["old", "note{indent=9}"], output="x", plugins=[plugin])
    (found,) = caught.value.diagnostics
    assert (found.code, str(found.span)) == ("AM503", "--target:1:13")


def test_targets_are_listed_with_options_and_help(plugin: Path) -> None:
    listed = json.loads(succeed("targets", "--plugin", plugin, "--json"))["targets"]
    (row,) = (row for row in listed if row["name"] == "note")
    assert [(option["name"], option["default"], option["help"]) for option in row["options"]] == [
        ("file", "note", "the name of the file, without its ending"),
        ("indent", "0", "columns of white space"),
    ]
    assert (row["options"][1]["least"], row["options"][1]["most"]) == (0, 8)
    said = succeed("targets", "--plugin", plugin)
    assert f"note\tfile=note, indent=0\t{plugin}\tA note of how the graph came to be." in said


def test_the_original_s_way_tells_the_target_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Emission] = []

    def emit_with(self: CaffeTarget, graph: Graph, emission: Emission) -> object:
        told.append(emission)
        return self.emit(graph)

    monkeypatch.setattr(CaffeTarget, "emit_with", emit_with)
    with at_desk(tmp_path, monkeypatch):
        amct_caffe.save_model(ready(), "Both", "out/net")
        amct_caffe.convert_model("digits.prototxt", "digits.caffemodel", "tmp/record.txt", "out/again")
        saved, converted = told
        assert saved.policy_sha256 == sha256(Path(CONFIG).read_bytes()).hexdigest()
        assert saved.pipeline is not None and "apply-record" in saved.pipeline
        assert (converted.policy_sha256, converted.pipeline) == (None, saved.pipeline)
        assert saved.tool == converted.tool == TOOL


def test_a_target_that_needs_the_graph_alone_is_called_with_it_alone() -> None:
    class Named(amctc.Target):
        """The name."""

        def emit(self, graph: Graph) -> dict[str, bytes]:
            return {"name": graph.name.encode()}

    graph = amctc.load(MODEL)
    assert Named().emit_with(graph, Emission()) == Named().emit(graph)
