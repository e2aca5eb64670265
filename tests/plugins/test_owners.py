"""Plug-ins that claim one name, and installed ones: what is told names their owners."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.plugins import load_plugins
from amctc.registry import current_registry
from tests.plugin_texts import GOOD, HEAD, PASS, TARGET, nothing_is_registered
from tests.shared_files import ROOT

pytestmark = pytest.mark.usefixtures("fresh_process")


def line_of(found: Diagnostic) -> str:
    assert found.span is not None
    return found.span.text


@pytest.mark.parametrize(
    ("call", "first"),
    [
        (PASS.replace('"idle"', '"calibrate"'), "amctc"),
        (PASS.replace('"idle"', '"ptq"'), "amctc"),
        (PASS.replace('"idle"', '"fixpoint"'), "amctc"),
        (PASS.replace('"idle"', '"lazy"'), "first.py"),
        (PASS, "first.py"),
        (TARGET.replace('"idle"', '"caffe"'), "amctc"),
        (TARGET.replace('"idle"', '"nothing"'), "first.py"),
        ("amctc.register_pipeline('ptq', 'idle')", "amctc"),
        ("amctc.register_pipeline('idle', 'lazy')", "first.py"),
        ("amctc.register_pipeline('lazy', 'idle')", "first.py"),
        ("amctc.register_observer('ifmr', lambda settings, layer: 0)", "amctc"),
        ("amctc.register_observer('lazy', lambda settings, layer: 0)", "first.py"),
        ("amctc.register_host_op('Lazy', lambda node, inputs, shapes: 0)", "first.py"),
    ],
)
def test_a_name_that_is_taken_names_both_owners(tmp_path: Path, call: str, first: str) -> None:
    (tmp_path / "first.py").write_text(HEAD + GOOD, encoding="utf-8")
    (tmp_path / "second.py").write_text(HEAD + call, encoding="utf-8")
    load_plugins([tmp_path / "first.py"])
    before = current_registry()
    with pytest.raises(DiagnosticError) as caught:
        load_plugins([tmp_path / "second.py"])
    (found,) = caught.value.diagnostics
    assert found.code == "AM520"
    owner = first if first == "amctc" else str(tmp_path / first)
    assert f"of {tmp_path / 'second.py'} has the name of one of {owner}" in found.message
    assert line_of(found) == call.splitlines()[0]
    assert current_registry() == before


def install(folder: Path, module: str | None, name: str = "my-plugin", value: str = "my_plugin") -> None:
    """What pip leaves behind of a package with one module."""
    info = folder / f"{name.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[amctc.plugins]\nmain = {value}\n", encoding="utf-8")
    if module is not None:
        (folder / f"{value}.py").write_text(module, encoding="utf-8")


def test_an_installed_plug_in_that_breaks_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, f"{HEAD}{GOOD}1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):  # it is not remembered as loaded
        with pytest.raises(DiagnosticError) as caught:
            load_plugins()
        (found,) = caught.value.diagnostics
        assert found.code == "AM521"
        assert found.message == "the plug-in my-plugin 1.5 does not load: ZeroDivisionError: division by zero"
        assert line_of(found) == "1 / 0"
        assert found.help == "mend it, or take it off: `pip uninstall my-plugin`"
        assert nothing_is_registered()


def test_an_installed_plug_in_without_its_module_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, None, value="gone_plugin")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DiagnosticError, match=r"AM521.*my-plugin 1\.5 does not load: ModuleNotFoundError"):
        load_plugins()


def test_two_installed_plug_ins_with_one_name_are_both_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, HEAD + PASS, "first-plugin", "first_plugin")
    install(tmp_path, HEAD + PASS, "other-plugin", "other_plugin")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DiagnosticError, match=r"AM520.*of other-plugin 1\.5 has the name of one of first-plugin 1\.5"):
        load_plugins()
    assert current_registry().passes["idle"].owner == "first-plugin 1.5"


def test_only_commands_that_use_plug_ins_load_them(tmp_path: Path) -> None:
    install(tmp_path, "1 / 0\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "amctc", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    assert run("--help").returncode == 0
    broken = run("passes")
    assert broken.returncode == 1
    assert broken.stderr.startswith("error[AM521]: the plug-in my-plugin 1.5 does not load: ZeroDivisionError")
    assert f"--> {tmp_path / 'my_plugin.py'}:1:1\n1 | 1 / 0\n" in broken.stderr
