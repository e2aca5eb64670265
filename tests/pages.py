"""Following a page of documentation from top to bottom, as a reader with the embedded example at hand would.

What a block is, is said by its language and by a comment before it:

- `python` runs, all blocks of a page in one module; one that begins with `# NAME.py` is a file, and is imported;
- `cfg` is a policy without mistakes, `cfg bad` one with; one that begins with `# NAME.cfg` is written to that file;
- `prototxt` that begins with `# NAME.prototxt` is written to that file;
- `json` is JSON;
- a block of any language after `<!-- file NAME -->` is written to that file, and Python then not run;
- `sh`: lines that begin with `amctc` are run, and end with status 0, or N after `<!-- exit N -->`;
- `sh` after `<!-- shell -->` is run as a whole by the shell, which ends with status 0, or N after `<!-- shell N -->`;
  what it installs with pip goes into a folder of the desk;
- `text` after `<!-- output -->` is what the commands before it printed; a line `…` stands for any lines.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.main import get_command

from amctc.cli import app, main
from amctc.diagnostics import DiagnosticError
from amctc.policy import Policy
from amctc.source import SourceFile

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

    def follow(self, block: Block) -> None:
        name = block.mark("file")
        if name is not None:
            (self.folder / name).write_text(block.text, encoding="utf-8")
        if block.language == "python" and name is None:
            self._python(block)
        elif block.language == "cfg":
            self._policy(block)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "prototxt" and (net := block.file("prototxt")) is not None:
            (self.folder / net).write_text(block.text, encoding="utf-8")
        elif block.language == "sh" and (status := block.mark("shell")) is not None:
            self._shell(block, int(status or 0))
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

    def _shell(self, block: Block, wanted: int) -> None:
        site = self.folder / "site-packages"
        mine = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(site),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
            # As in an environment of the reader's own, and without the network.
            "PIP_TARGET": str(site),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
        }
        done = subprocess.run(
            ["sh", "-e", "-c", block.text],
            cwd=self.folder,
            env={**os.environ, **mine},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        told = [line for line in done.stdout.splitlines() if not line.startswith("amctc: ")]
        self.printed = "".join(f"{line}\n" for line in told)
        assert done.returncode == wanted, f"{self.page.name}:{block.line}: ended with {done.returncode}\n{self.printed}"

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
