"""The pages do what they say: code runs, policies parse, commands end as told, the reference is current.

A page is run from top to bottom in a folder of its own that holds the embedded example. What a block is, is
said by its language and by a comment before it:

- `python` runs, all blocks of a page in one module; one that begins with `# NAME.py` is a file, and is imported;
- `cfg` is a policy without mistakes, `cfg bad` one with; one that begins with `# NAME.cfg` is written to that file;
- `json` is JSON; `<!-- file NAME -->` before it writes it to that file;
- `sh`: lines that begin with `amctc` are run, and end with status 0, or N after `<!-- exit N -->`;
- `text` after `<!-- output -->` is what the commands before it printed; a line `…` stands for any lines.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from amctc.cli import app, main
from amctc.diagnostics import DiagnosticError
from amctc.policy import Policy
from amctc.source import SourceFile
from tests.shared_files import ROOT

REFERENCE = ROOT / "docs" / "reference.md"
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
# The README's commands are on a network of the reader's own: that they are written rightly is all that can be tested.
NOT_RUN = {"README.md"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words after it, its text, its first line, the comments before it."""

    language: str
    more: str
    text: str
    line: int
    marks: tuple[str, ...]

    def file(self, ending: str) -> str | None:
        """The name in a first line `# NAME.ending`."""
        found = re.match(rf"# ([\w.-]+\.{ending})$", self.text.partition("\n")[0])
        return found[1] if found else None

    def mark(self, word: str) -> str | None:
        """What follows `word` in a comment before the block."""
        return next((mark[len(word) :].strip() for mark in self.marks if mark.split()[0] == word), None)


def blocks(page: Path) -> Iterator[Block]:
    marks: list[str] = []
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    for number, line in lines:
        fence = re.match(r"```(\w*) *(.*)", line)
        if fence is None:
            mark = re.fullmatch(r"<!-- (.*) -->", line)
            if mark is not None:
                marks.append(mark[1])
            elif line.strip():
                marks = []
            continue
        text: list[str] = []
        for _, inner in lines:
            if inner == "```":
                break
            text.append(inner)
        yield Block(fence[1], fence[2], "\n".join(text) + "\n", number + 1, tuple(marks))
        marks = []


class Screen(io.StringIO):
    """Output that a program takes for a terminal, so that tables are drawn."""

    def isatty(self) -> bool:
        return True


@dataclass
class Reader:
    """Someone who follows a page from its first line to its last."""

    page: Path
    folder: Path
    module: ModuleType
    printed: str = ""
    seen: list[str] = field(default_factory=list[str])

    def follow(self, block: Block) -> None:
        self.seen.append(block.language)
        if block.language == "python":
            self._python(block)
        elif block.language == "cfg":
            self._policy(block)
        elif block.language == "json":
            json.loads(block.text)
            if (name := block.mark("file")) is not None:
                (self.folder / name).write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            self._commands(block)
        elif block.language == "text" and block.mark("output") is not None:
            assert matches(block.text, self.printed), f"{self.page.name}:{block.line}: printed was\n{self.printed}"

    def _python(self, block: Block) -> None:
        name = block.file("py")
        if name is None:
            # The line numbers of a traceback are those of the page.
            code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec", dont_inherit=True)
            exec(code, vars(self.module))
            return
        (self.folder / name).write_text(block.text, encoding="utf-8")
        importlib.invalidate_caches()
        module = importlib.import_module(name.removesuffix(".py"))
        for test, function in vars(module).items():
            if test.startswith("test_"):
                function()

    def _policy(self, block: Block) -> None:
        name = block.file("cfg")
        if name is not None:
            (self.folder / name).write_text(block.text, encoding="utf-8")
        policy = SourceFile(name or self.page.name, block.text)
        if block.more == "bad":
            with pytest.raises(DiagnosticError):
                Policy.from_text(policy)
        else:
            assert Policy.from_text(policy).warnings == ()

    def _commands(self, block: Block) -> None:
        wanted = int(block.mark("exit") or 0)
        self.printed = ""
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if not words or words[0] != "amctc":
                continue
            if self.page.name in NOT_RUN:
                parse_only(words[1:])
                continue
            status, printed = run_command(words)
            self.printed += printed
            assert status == wanted, f"{self.page.name}:{block.line}: `{line}` ended with {status}\n{printed}"


def parse_only(arguments: list[str]) -> None:
    """Read the arguments of a command as the program does, and do nothing; wrong usage raises."""
    group: Any = get_command(app)
    command = group.commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


def run_command(words: list[str]) -> tuple[int, str]:
    """The exit status of a command line, and what it printed: results, then diagnostics, without progress."""
    out, err = Screen(), io.StringIO()
    status: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                status = end.code or 0
    told = [line for line in err.getvalue().splitlines() if not line.startswith("amctc: ")]
    assert isinstance(status, int)
    return status, "".join(f"{line}\n" for line in (*out.getvalue().splitlines(), *told))


def matches(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed; a line `…` stands for any lines."""
    pattern = "".join(r"(?:.*\n)*" if line.strip() == "…" else re.escape(line) + r"\n" for line in trimmed(shown))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in trimmed(printed))) is not None


def trimmed(text: str) -> list[str]:
    """The lines without what is blank at their ends and around them all."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n").split("\n")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one; modules imported from it are forgotten."""
    example = ROOT / "examples" / "digits"
    shutil.copytree(example, tmp_path / "examples" / "digits")
    for path in example.iterdir():
        if path.suffix in (".prototxt", ".caffemodel", ".npz", ".cfg"):
            shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in {"COLUMNS": "140", "LINES": "50", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    reader = Reader(page, desk, module)
    for block in blocks(page):
        reader.follow(block)


def test_the_reference_is_current() -> None:
    written: Any = runpy.run_path(str(ROOT / "docs" / "write_reference.py"))["reference"]
    assert REFERENCE.read_text(encoding="utf-8") == written(), "run `make docs`"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\(([\w-]+\.md)\)", index))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_an_ellipsis_stands_for_any_lines_and_nothing_else_does() -> None:
    assert matches("a\n…\nd\n", "a\nb\nc\nd\n")
    assert matches("a\n…\nd\n", "a\nd\n")
    assert not matches("a\nd\n", "a\nb\nd\n")
    assert not matches("a\n", "a\nb\n")
