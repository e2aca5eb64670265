"""The first files of a new pass: a pass that works, its test and its golden files, to be changed step by step."""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from amctc.diagnostics import Diagnostic, DiagnosticError, error
from amctc.output import write_files
from amctc.registry import current_registry

_KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 60

_TEMPLATES = {
    "$module.py": "pass.py.template",
    "test_$module.py": "test.py.template",
    "$name/basic.txt": "basic.txt.template",
    "$name/negative-slope.txt": "negative-slope.txt.template",
}
"""The path of each file in the new pass's folder, and the template of what is in it."""


def new_pass(name: str, folder: Path) -> tuple[Path, ...]:
    """Write the files of a new pass into a folder, which is made where it is missing; gives their paths.

    Raises `DiagnosticError` and writes nothing: AM540 for a name that is not kebab-case, AM541 for that of a
    built-in pass or pipeline, AM542 for files that are there already, AM543 for a name that Python cannot import
    or that another module has; AM700 where the folder cannot be written to.
    """
    _check_name(name)
    contents = {folder / path: text for path, text in skeleton(name).items()}
    help = "choose another name, or another folder with `--output`"
    there = [
        Diagnostic("AM542", "this file is there already", file=str(path), help=help) for path in _present(contents)
    ]
    if there:
        raise DiagnosticError(*there)
    _check_module(name)
    write_files({path: text.encode() for path, text in contents.items()})
    return tuple(contents)


def skeleton(name: str) -> Mapping[Path, str]:
    """The text of each file of a new pass with a name in kebab-case, by its path."""
    words = {"name": name, "module": module_of(name), "Class": class_of(name)}
    return {Path(Template(path).substitute(words)): _text(template, words) for path, template in _TEMPLATES.items()}


def module_of(name: str) -> str:
    """The Python module of a pass: `fold-gate` is in `fold_gate`."""
    return name.replace("-", "_")


def class_of(name: str) -> str:
    """The class of a pass: `fold-gate` is `FoldGate`."""
    return "".join(word.capitalize() for word in name.split("-"))


def next_steps(name: str, folder: Path) -> Iterator[str]:
    """What to do now, line by line."""
    module = folder / f"{module_of(name)}.py"
    yield "run its test:"
    yield f"  pytest {folder / f'test_{module.name}'}"
    yield "use it:"
    yield f"  amctc compile ... --plugin {module} --pipeline {name},ptq"
    yield "change it, and record anew what it makes; then read the difference:"
    yield f"  AMCTC_UPDATE=1 pytest {folder / f'test_{module.name}'}"


def _text(template: str, words: Mapping[str, str]) -> str:
    text = files("amctc.scaffold").joinpath(template).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _check_name(name: str) -> None:
    if not _KEBAB.fullmatch(name) or len(name) > _LONGEST:
        raise error("AM540", f"`{name[:_LONGEST]}` is not the name of a pass", help=_kebab_help(name))
    known = current_registry()
    for kind, names in (("pass", known.passes), ("pipeline", known.pipelines)):
        if name in names:
            raise error("AM541", f"there is a built-in {kind} named `{name}`", help="give yours a name of its own")


def _kebab_help(name: str) -> str:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    nearest = re.sub(r"[^a-z0-9]+", "-", parted).strip("-0123456789")
    if _KEBAB.fullmatch(nearest) and len(nearest) <= _LONGEST:
        return f"did you mean `{nearest}`?"
    return f"write small letters and digits, with hyphens between words, at most {_LONGEST}: `fold-gate`"


def _check_module(name: str) -> None:
    module = module_of(name)
    if keyword.iskeyword(module):
        what = "is a word of Python"
    elif find_spec(module) is not None:
        what = "is the name of another Python module"
    else:
        return
    help = f"a name of two words is safe: `{name}-layers`"
    raise error("AM543", f"`{module}.py` could not be imported: `{module}` {what}", help=help)


def _present(paths: Iterable[Path]) -> Iterator[Path]:
    # os.path answers for names that no file can have, where Path raises.
    return (path for path in paths if os.path.lexists(path))
