"""The real server, `amctc lsp`, in a process of its own, spoken to as an editor speaks to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from tests.e2e.command import amctc
from tests.lsp.client import Editor, Json
from tests.shared_files import ROOT


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    """An editor for tests that ask for nothing particular: one server serves them all."""
    with Editor() as editor:
        yield editor


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy of the embedded example, with its net next to it."""
    for name in ("digits.prototxt", "policy.cfg"):
        shutil.copy(ROOT / "examples/digits" / name, tmp_path)
    return tmp_path / "policy.cfg"


def span(found: Json) -> tuple[int, int, int, int]:
    start, end = found["range"]["start"], found["range"]["end"]
    return start["line"], start["character"], end["line"], end["character"]


def labels(items: Json) -> list[str]:
    return [item["label"] for item in items]


def test_the_server_says_what_it_can_and_ends_when_told(policy: Path) -> None:
    with Editor() as editor:
        said = editor.server
    assert said["serverInfo"]["name"] == "amctc"
    can = said["capabilities"]
    assert can["completionProvider"]["triggerCharacters"] == ['"', ":", " "]
    assert can["hoverProvider"] and can["documentFormattingProvider"]
    assert can["codeActionProvider"]["codeActionKinds"] == ["quickfix"]
    assert editor.status == 0


def test_diagnostics_come_while_the_text_changes(editor: Editor, policy: Path) -> None:
    assert editor.open(policy) == []
    (typo,) = editor.change(policy, "# 卷积 😀\ncommon_config { ifmr_quantize { num_bit: 8 } }\n")
    assert typo["code"] == "AM200"
    assert typo["severity"] == 1
    assert typo["source"] == "amctc"
    assert span(typo) == (1, 32, 1, 39)
    assert "help: did you mean `num_bits`?" in typo["message"]
    (open_brace,) = editor.change(policy, "common_config {\n  arq_quantize {\n}\n")
    assert open_brace["code"] == "AM101"
    (related,) = open_brace["relatedInformation"]
    assert related["location"]["uri"] == policy.as_uri()
    assert span(related["location"]) == (0, 14, 0, 15)
    wrong, twice = editor.change(policy, 'skip_layers: ["conv9", "pool1", "conv9"]\nbatch_num: 0\n')[:2]
    assert {wrong["code"], twice["code"]} <= {"AM210", "AM211", "AM218", "AM219", "AM220"}
    (unknown,) = editor.change(policy, 'batch_num: 1\nskip_layers: "conv9"\n')
    assert (unknown["code"], span(unknown)) == ("AM220", (1, 13, 1, 20))
    assert editor.change(policy, "batch_num: 1\n") == []


def test_closing_a_text_takes_its_diagnostics_away(editor: Editor, policy: Path) -> None:
    assert editor.open(policy, "batch_num: x")
    editor.tell("textDocument/didClose", textDocument={"uri": policy.as_uri()})
    assert editor.diagnostics(policy) == []


def test_fields_values_and_layers_are_completed(policy: Path) -> None:
    text = 'batch_num: 1\ncommon_config {\n  \n}\nskip_layers: "co"\ndo_fusion: \n'
    with Editor(snippets=True) as editor:
        editor.open(policy, text)
        fields = editor.at("completion", policy, 2, 2)
        assert {"arq_quantize", "ifmr_quantize"} <= set(labels(fields))
        arq = next(item for item in fields if item["label"] == "arq_quantize")
        assert arq["textEdit"]["newText"] == "arq_quantize {\n  $0\n}"
        assert arq["insertTextFormat"] == 2
        names = editor.at("completion", policy, 4, 16)
        assert {"conv1", "conv3", "fc"} <= set(labels(names))
        conv1 = next(item for item in names if item["label"] == "conv1")
        assert conv1["detail"] == "Convolution"
        assert conv1["textEdit"]["newText"] == "conv1"
        assert span(conv1["textEdit"]) == (4, 14, 4, 16)
        assert [names[0]["sortText"], names[1]["sortText"]] == ["00000", "00001"]
        space = {"triggerKind": 2, "triggerCharacter": " "}
        assert labels(editor.at("completion", policy, 5, 11, context=space)) == ["true", "false"]
        assert editor.at("completion", policy, 2, 2, context=space) == []


def test_an_editor_without_snippets_gets_plain_text(editor: Editor, policy: Path) -> None:
    editor.open(policy, "")
    found = {item["label"]: item for item in editor.at("completion", policy, 0, 0)}
    assert found["common_config"]["textEdit"]["newText"] == "common_config {}"
    assert found["common_config"]["insertTextFormat"] == 1


def test_a_field_under_the_pointer_is_explained(editor: Editor, policy: Path) -> None:
    editor.open(policy, "common_config { ifmr_quantize { num_bits: 8 } }")
    said = editor.at("hover", policy, 0, 34)
    assert said["contents"]["kind"] == "markdown"
    assert "- range: at least 8 and at most 16\n- default: 8" in said["contents"]["value"]
    assert span(said) == (0, 32, 0, 40)
    assert editor.at("hover", policy, 0, 15) is None


def test_the_document_is_formatted_as_by_the_command(editor: Editor, policy: Path) -> None:
    editor.open(policy)
    (edit,) = editor.ask(
        "textDocument/formatting",
        textDocument={"uri": policy.as_uri()},
        options={"tabSize": 8, "insertSpaces": True},
    )
    lines = policy.read_text(encoding="utf-8").split("\n")
    assert span(edit) == (0, 0, len(lines) - 1, 0)
    outcome = amctc("fmt", policy)
    assert (outcome.status, outcome.stdout) == (0, f"{policy}: formatted\n")
    assert edit["newText"] == policy.read_text(encoding="utf-8")
    editor.change(policy, edit["newText"])
    options = {"tabSize": 2, "insertSpaces": True}
    assert editor.ask("textDocument/formatting", textDocument={"uri": policy.as_uri()}, options=options) == []
    editor.change(policy, "batch_num: {")
    assert editor.ask("textDocument/formatting", textDocument={"uri": policy.as_uri()}, options=options) == []


def test_a_suggestion_is_a_quick_fix(editor: Editor, policy: Path) -> None:
    found = editor.open(policy, "do_fusion: true\nbatch_nun: 1\n")
    here = {"start": {"line": 1, "character": 3}, "end": {"line": 1, "character": 3}}
    document = {"uri": policy.as_uri()}
    (fix,) = editor.ask("textDocument/codeAction", textDocument=document, range=here, context={"diagnostics": found})
    assert fix["title"] == "change to `batch_num`"
    (edit,) = fix["edit"]["changes"][policy.as_uri()]
    assert edit["newText"] == "batch_num"
    assert span(edit) == (1, 0, 1, 9)
    there = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 4}}
    assert editor.ask("textDocument/codeAction", textDocument=document, range=there, context={"diagnostics": []}) == []


@pytest.mark.parametrize(("encoding", "start"), [("utf-8", 19), ("utf-16", 15), ("utf-32", 14)])
def test_places_are_counted_as_the_editor_asks(policy: Path, encoding: str, start: int) -> None:
    with Editor(encodings=(encoding,)) as editor:
        assert editor.server["capabilities"]["positionEncoding"] == encoding
        (found, *_) = editor.open(policy, 'pass{name:"😀卷"nam:1}\n')
        assert found["range"]["start"] == {"line": 0, "character": start}


def test_a_layer_config_and_a_net_are_checked_as_what_they_are(editor: Editor, policy: Path) -> None:
    layers, net = policy.with_name("layers.json"), policy.with_name("other.prototxt")
    (found,) = editor.open(layers, '{"version": 2}')
    assert found["code"] == "AM210"
    assert editor.at("completion", layers, 0, 1) == []
    assert editor.open(net, "layer { nonsense: 1 }") == []
    (found,) = editor.open(net, "layer {")
    assert found["code"] == "AM101"
    assert editor.at("hover", net, 0, 2) is None
    readme = policy.with_name("readme.txt")
    assert editor.open(readme, "not a policy at all") == []
    assert editor.at("completion", readme, 0, 0) == []


def test_a_text_that_has_no_file_is_checked_too(editor: Editor) -> None:
    (found,) = editor.open("untitled:Untitled-1", "batch_num: 0")
    assert found["code"] == "AM210"


def test_without_pygls_the_command_says_how_to_get_it() -> None:
    with mock.patch.dict(sys.modules, {"pygls": None, "pygls.lsp.server": None, "lsprotocol": None}):
        for name in [name for name in sys.modules if name.startswith("amctc.lsp.")]:
            del sys.modules[name]
        outcome = amctc("lsp")
    assert outcome.status == 1
    assert outcome.stderr.startswith(
        "error[AM821]: the language server needs the package `pygls`, which is not installed\n"
    )
    assert "pip install 'amctc[lsp]'" in outcome.stderr


def test_the_help_does_not_load_the_server() -> None:
    code = "import sys, amctc.cli; sys.exit(any(name.split('.')[0] in ('pygls', 'lsprotocol') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
