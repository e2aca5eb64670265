"""Every way in which a plug-in can be wrong: told with its owner and the line, and nothing of it stays registered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import amctc
from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.dialects.custom import HOST_OPS, OPS
from amctc.plugins import load_plugins
from amctc.registry import current_registry
from tests.plugin_texts import GOOD, HEAD, PASS, REWRITE, TARGET, nothing_is_registered

pytestmark = pytest.mark.usefixtures("fresh_process")


def refusal(folder: Path, text: str, name: str = "plug.py") -> Diagnostic:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        load_plugins([folder / name], entry_points=False)
    (found,) = caught.value.diagnostics
    assert nothing_is_registered()
    return found


def line_of(found: Diagnostic) -> str:
    assert found.span is not None
    return found.span.text


def test_a_good_plug_in_registers_everything(tmp_path: Path) -> None:
    file = tmp_path / "plug.py"
    file.write_text(HEAD + GOOD, encoding="utf-8")
    load_plugins([file])
    now = current_registry()
    assert now.passes["idle"].owner == now.targets["nothing"].owner == now.owner_of_pipeline("lazy") == str(file)
    assert now.passes["idle"].load().name == "idle"
    assert now.pipelines["lazy"] == "idle"
    assert set(HOST_OPS.rows) == {"Lazy"} and set(OPS.rows) == {"lazy.Op"}
    assert [path.name for path in tmp_path.iterdir()] == ["plug.py"], "nothing is written beside a plug-in"


def test_a_plug_in_loaded_twice_counts_as_it_is_the_second_time(tmp_path: Path) -> None:
    file = tmp_path / "plug.py"
    file.write_text(HEAD + GOOD, encoding="utf-8")
    load_plugins([file, file])
    file.write_text(HEAD + GOOD.replace("Do nothing.", "Do little."), encoding="utf-8")
    load_plugins([tmp_path / "." / "plug.py"])
    assert current_registry().passes["idle"].load().summary() == "Do little."


def test_what_a_plug_in_registered_before_stays_when_it_breaks(tmp_path: Path) -> None:
    file = tmp_path / "plug.py"
    file.write_text(HEAD + GOOD, encoding="utf-8")
    load_plugins([file])
    file.write_text(HEAD + GOOD.replace("Do nothing.", "Do little.") + "1 / 0\n", encoding="utf-8")
    with pytest.raises(DiagnosticError, match="ZeroDivisionError"):
        load_plugins([file])
    assert current_registry().passes["idle"].load().summary() == "Do nothing."


@pytest.mark.parametrize(
    ("ending", "line", "words"),
    [
        ("import no_such_module_of_anybody", 0, "ModuleNotFoundError: No module named 'no_such_module_of_anybody'"),
        ("def f():\n    return 1 / 0\nf()", 1, "ZeroDivisionError: division by zero"),
        ("def f(:\n    pass", 0, "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)", 0, "SystemExit: 3"),
        ("nothing_of_this_name", 0, "NameError: name 'nothing_of_this_name' is not defined"),
        ("import json\njson.loads('{')", 1, "JSONDecodeError"),
        ("amctc.register_passs", 0, "AttributeError: module `amctc` has no attribute `register_passs`"),
        ("raise ValueError('two\\nlines')", 0, "ValueError: two lines"),
    ],
)
def test_a_plug_in_that_does_not_load_leaves_nothing_behind(tmp_path: Path, ending: str, line: int, words: str) -> None:
    found = refusal(tmp_path, f"{HEAD}{GOOD}{ending}\n")
    assert found.code == "AM521"
    assert f"the plug-in {tmp_path / 'plug.py'} does not load: {words}" in found.message
    assert found.span is not None and found.span.source.name == str(tmp_path / "plug.py")
    assert found.span.line == len((HEAD + GOOD).splitlines()) + 1 + line
    assert line_of(found) == ending.splitlines()[line].strip()


def test_a_plug_in_that_is_no_text_is_told_without_a_line(tmp_path: Path) -> None:
    (tmp_path / "plug.py").write_bytes(b"\x00\xff")
    with pytest.raises(DiagnosticError, match=r"AM521.*plug\.py does not load"):
        load_plugins([tmp_path / "plug.py"])


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.py", "does not exist"), ("folder", "is a folder"), ("notes.txt", "is not a `.py` file")],
)
def test_what_is_no_python_file_is_no_plug_in(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("amctc", encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        load_plugins([tmp_path / name])
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("AM522", f"the plug-in `{tmp_path / name}` {words}")


FROZEN = TARGET.replace("class Idle", "@dataclass(frozen=True)\nclass Idle")

WRONG: Sequence[tuple[str, str, str, str]] = [
    (PASS, 'name: ClassVar[str] = "idle"', "pass", "it has no `name`"),
    (PASS, '"idle"|"Idle_Pass"', "pass", "its name 'Idle_Pass' is not kebab-case"),
    (PASS, '"idle"|3', "pass", "it has no `name`"),
    (PASS, "name: ClassVar[str]|name: str", "pass", "its `name` is an option"),
    (PASS, "(amctc.Pass)", "pass", "it is not derived from `amctc.Pass`"),
    (PASS, "@dataclass(frozen=True)\n", "pass", "it is not a frozen dataclass"),
    (PASS, "(frozen=True)", "pass", "it is not a frozen dataclass"),
    (PASS, '"""Do nothing."""', "pass", "it has no docstring"),
    (PASS, "graph, context|graph", "pass", "its method `run`: its parameters are (self, graph)"),
    (PASS, "def run|async def run", "pass", "its method `run`: that is no plain function"),
    (PASS, "def run|def ran", "pass", "it has no method `run`"),
    (PASS, "    def run|    bits: list[int] = []\n    def run", "", "mutable default <class 'list'>"),
    (PASS, "    def run|    bits: tuple[int] = (1,)\n    def run", "pass", "the option `bits` is a tuple[int]"),
    (PASS, "    def run|    bits: int | None = None\n    def run", "pass", "the option `bits` is a int | None"),
    (PASS, "    def run|    bits: int\n    def run", "pass", "the option `bits` has no default"),
    (PASS, "    def run|    bits: int = 'x'\n    def run", "pass", "takes a whole number, its default is 'x'"),
    (PASS, "    def run|    bits: Gone = 1\n    def run", "pass", "the type of a field cannot be read: NameError"),
    (PASS, "    def run|    b: Literal['x', 'y'] = 'z'\n    def run", "pass", "takes `x` or `y`, its default is 'z'"),
    (PASS, "    def run|    b: int = amctc.option(9, most=8)\n    def run", "pass", "up to 8, its default is 9"),
    (PASS, "    def run|    after = 'x'\n    def run", "pass", "its `after` is 'x'"),
    (PASS, "    def run|    needs_policy = 1\n    def run", "pass", "its `needs_policy` is 1"),
    (REWRITE, '    pattern: ClassVar[str] = "Convolution -> ReLU"\n', "pass", "it has no `pattern`"),
    (REWRITE, "Convolution -> ReLU|Convolution -> ->", "pass", "its pattern cannot be read"),
    (REWRITE, "match, graph, context|graph, match", "pass", "its parameters are (self, graph, match)"),
    (REWRITE, "    def rew|    def check(self, match): pass\n    def rew", "pass", "its method `check`"),
    (REWRITE, "    def rew|    def check_node(self, node): pass\n    def rew", "pass", "its method `check_node`"),
    (REWRITE, "    def rewrite(self, match, graph, context):\n        pass\n", "pass", "it has no method `rewrite`"),
    (TARGET, "(amctc.Target)", "target", "it is not derived from `amctc.Target`"),
    (TARGET, "self, graph|self", "target", "its method `emit`: its parameters are (self)"),
    (TARGET, "    def emit|    def __init__(self, x): pass\n    def emit", "target", "it is made with arguments"),
    (TARGET, '"""Write nothing."""', "target", "it has no docstring"),
    (TARGET, "    def emit|    def emit_with(self, graph): pass\n    def emit", "target", "its method `emit_with`"),
    (TARGET, "    def emit(self, graph):\n        return {}\n", "target", "it has no method `emit`"),
    (
        TARGET,
        "    def emit|    n: int = amctc.option(1)\n    def emit",
        "target",
        "the option `n`, and is no dataclass",
    ),
    (TARGET, "class Idle|@dataclass\nclass Idle", "target", "it is not frozen"),
    (FROZEN, "    def emit|    bits: tuple[int] = (1,)\n    def emit", "target", "the option `bits` is a tuple[int]"),
    (FROZEN, "    def emit|    bits: int\n    def emit", "target", "the option `bits` has no default"),
    (FROZEN, "name: ClassVar[str]|name: str", "target", "its `name` is an option"),
]


@pytest.mark.parametrize(("text", "change", "what", "words"), WRONG, ids=lambda value: str(value)[:40].strip())
def test_a_class_of_the_wrong_shape_is_told_what_to_change(
    tmp_path: Path, text: str, change: str, what: str, words: str
) -> None:
    old, _, new = change.partition("|")
    assert old in text
    found = refusal(tmp_path, HEAD + text.replace(old, new))
    assert words in found.message
    assert str(tmp_path / "plug.py") in found.message
    if not what:  # dataclass itself refuses it
        assert found.code == "AM521"
        return
    assert found.code == "AM523"
    assert found.message.startswith(f"the {what} `Idle` of {tmp_path / 'plug.py'} cannot be registered: ")
    assert found.help
    assert line_of(found) == f"@amctc.register_{what}"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("amctc.register_pass(3)", "it is no class"),
        ("amctc.register_target(print)", "it is no class"),
        ("amctc.register_pipeline('My Pipeline', 'idle')", "'My Pipeline' is no name"),
        ("amctc.register_pipeline('mine', ' ')", "it has no text"),
        ("amctc.register_observer('my observer', print)", "that is no name"),
        ("amctc.register_observer('mine', lambda: 0)", "its parameters are ()"),
        ("amctc.register_host_op('Mine', lambda node: 0)", "its parameters are (node)"),
        ("amctc.register_host_op('Mine', 3)", "that is no plain function"),
        ("amctc.register_op('Mine')", "it is no OpDef"),
    ],
)
def test_a_call_that_cannot_be_right_is_refused_at_its_line(tmp_path: Path, call: str, words: str) -> None:
    found = refusal(tmp_path, f"{HEAD}{GOOD}{call}\n")
    assert found.code == "AM523"
    assert words in found.message and str(tmp_path / "plug.py") in found.message
    assert line_of(found) == call


def test_what_a_plug_in_calls_in_vain_is_told_with_the_plug_in(tmp_path: Path) -> None:
    found = refusal(tmp_path, f"{HEAD}amctc.load('gone.prototxt')\n")
    assert found.notes[-1] == f"in the plug-in {tmp_path / 'plug.py'}"
    found = refusal(tmp_path, f"{HEAD}amctc.register_host_op('ReLU', lambda node, inputs, shapes: inputs)\n")
    assert found.code == "AM435"
    assert line_of(found).startswith("amctc.register_host_op")


def test_what_a_script_registers_can_be_taken_back() -> None:
    assert amctc.register_pipeline("mine", "fuse-batchnorm").name == "mine"
    with amctc.register_pipeline("mine", "calibrate") as registration:
        assert current_registry().pipelines["mine"] == "calibrate"
    assert "mine" not in current_registry().pipelines
    registration.remove()
