"""How scripts come to our modules: `python -m amctc.compat`, and the stand-in for a Caffe folder."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from amctc.compat.caffe_dir import write_caffe_dir
from amctc.diagnostics import DiagnosticError
from tests.compat.running import environment, run_script, stand_in
from tests.e2e.command import amctc, contents


def script(folder: Path, text: str, name: str = "script.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def run_compat(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "amctc.compat", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)


TELL = """\
import json, sys
import {first}
import caffe, caffe.io, caffe.proto.caffe_pb2 as pb2
import amct_caffe, hotwheels, hotwheels.amct_caffe as amct
from hotwheels import amct_caffe as one
from hotwheels.amct_caffe import amct as two, init
from amct_caffe import init as three
import amctc.compat.caffe, amctc.compat.amct_caffe
print(json.dumps({{
    "argv": sys.argv, "name": __name__, "path": sys.path[0], "file": __file__,
    "one": amct_caffe is amct is one is two is amctc.compat.amct_caffe, "init": init is three is amct.init,
    "caffe": caffe is amctc.compat.caffe and caffe.io is amctc.compat.caffe.io,
    "spec": caffe.__spec__.name, "net": caffe.Net.__name__, "pb2": pb2.NetParameter.__name__,
}}))
"""


@pytest.mark.parametrize("served", [True, False])
@pytest.mark.parametrize("first", ["caffe", "amct_caffe", "hotwheels.amct_caffe", "hotwheels"])
def test_every_name_leads_to_one_module(tmp_path: Path, served: bool, first: str) -> None:
    (tmp_path / "scripts").mkdir()
    path = script(tmp_path / "scripts", TELL.format(first=first))
    more = {} if served else {"PYTHONPATH": str(stand_in(tmp_path / "caffe") / "python")}
    done = run_script(path, "--a", "b c", cwd=tmp_path, served=served, env=more)
    assert json.loads(done.stdout) == {
        "argv": [str(path), "--a", "b c"], "name": "__main__", "path": str(tmp_path / "scripts"), "file": str(path),
        "one": True, "init": True, "caffe": True, "spec": "amctc.compat.caffe", "net": "Net", "pb2": "NetParameter",
    }  # fmt: skip


def test_a_script_finds_its_neighbours_and_itself(tmp_path: Path) -> None:
    script(tmp_path, "VALUE = 7\n", "neighbour.py")
    text = (
        "import sys, pickle, neighbour\nclass Own: pass\nif __name__ == '__main__':\n"
        "    assert isinstance(pickle.loads(pickle.dumps(Own())), Own)\n    print(neighbour.VALUE)\n"
    )
    assert run_script(script(tmp_path, text), cwd=tmp_path.parent).stdout == "7\n"


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("raise SystemExit(5)", 5, ""),
        ("import sys; sys.exit('no data')", 1, "no data\n"),
        ("import os; os._exit(9)", 9, ""),
        ("raise KeyError('x')", 1, "KeyError: 'x'\n"),
        ("def f(:", 1, "SyntaxError"),
        ("import atexit; atexit.register(lambda: print('end', flush=True))", 0, ""),
    ],
)
def test_how_a_script_ends_is_how_it_ends(tmp_path: Path, text: str, status: int, said: str) -> None:
    done = run_script(script(tmp_path, text), cwd=tmp_path, status=status)
    assert said in done.stderr
    assert ("end" in done.stdout) == ("atexit" in text)


def test_a_traceback_names_the_line_of_the_script(tmp_path: Path) -> None:
    path = script(tmp_path, "import caffe\n\ncaffe.Net('nowhere.prototxt', caffe.TEST)\n")
    assert f'File "{path}", line 3, in <module>' in run_script(path, cwd=tmp_path, status=1).stderr


def test_features_of_our_own_modules_do_not_leak_into_a_script(tmp_path: Path) -> None:
    text = "def f(x: undefined_name): pass\n"  # an error but for `from __future__ import annotations`
    assert "undefined_name" in run_script(script(tmp_path, text), cwd=tmp_path, status=1).stderr


def test_a_script_in_another_encoding_is_read(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_bytes("# -*- coding: gbk -*-\nprint(len('量化'))\n".encode("gbk"))
    assert run_script(path, cwd=tmp_path).stdout == "2\n"


def test_no_script_is_wrong_usage(tmp_path: Path) -> None:
    done = run_compat(cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("usage: python -m amctc.compat SCRIPT")
    done = run_compat("--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    done = run_compat("nowhere.py", cwd=tmp_path)
    assert done.returncode == 2 and "can't open file 'nowhere.py'" in done.stderr


def test_an_installed_caffe_is_served_only_to_who_does_not_ask_for_ours(tmp_path: Path) -> None:
    (tmp_path / "site/caffe").mkdir(parents=True)
    script(tmp_path / "site/caffe", "REAL = True\n", "__init__.py")
    path = script(tmp_path, "import caffe; print(hasattr(caffe, 'REAL'))\n")
    site = {"PYTHONPATH": str(tmp_path / "site")}
    assert run_script(path, cwd=tmp_path, served=False, env=site).stdout == "True\n"
    assert run_script(path, cwd=tmp_path, served=True, env=site).stdout == "False\n"
    text = "import amctc, amctc.compat.amct_caffe, caffe; print(hasattr(caffe, 'REAL'))\n"
    assert run_script(script(tmp_path, text), cwd=tmp_path, served=False, env=site).stdout == "True\n"


class TestCaffeFolder:
    PATHS = (
        "build/tools/caffe",
        "build/lib/libcaffe.so",
        "python/caffe/__init__.py",
        "python/caffe/pycaffe.py",
        "python/caffe/_caffe.so",
        "src/caffe/proto/caffe.proto",
        "README.md",
    )

    def test_it_has_the_paths_that_scripts_test_for(self, tmp_path: Path) -> None:
        folder = stand_in(tmp_path / "deep" / "caffe-master")
        assert all((folder / path).is_file() for path in self.PATHS)
        assert os.access(folder / "build/tools/caffe", os.X_OK)
        assert "There is no Caffe in this folder" in (folder / "README.md").read_text(encoding="utf-8")

    def test_a_script_that_inserts_its_python_folder_gets_our_modules(self, tmp_path: Path) -> None:
        folder = stand_in(tmp_path / "caffe-master")
        text = (
            "import os, sys\nsys.path.insert(0, os.path.join(sys.argv[1], 'python'))\nimport caffe\n"
            "from hotwheels.amct_caffe import init\nprint(caffe.__name__, init.__name__)\n"
        )
        done = run_script(script(tmp_path, text), folder, cwd=tmp_path, served=False)
        assert done.stdout == "amctc.compat.caffe init\n"

    def test_its_tool_says_what_it_is(self, tmp_path: Path) -> None:
        tool = stand_in(tmp_path / "caffe") / "build/tools/caffe"
        done = subprocess.run([tool, "train"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "stand-in" in done.stderr

    def test_its_schema_is_a_caffe_proto(self, tmp_path: Path) -> None:
        text = (stand_in(tmp_path / "caffe") / "src/caffe/proto/caffe.proto").read_text(encoding="utf-8")
        assert "message LayerParameter {" in text and "IFMRParameter" in text

    def test_it_is_written_over_an_older_one(self, tmp_path: Path) -> None:
        folder = stand_in(tmp_path / "caffe")
        before = contents(folder)
        (folder / "python/caffe/__init__.py").write_text("old", encoding="utf-8")
        stand_in(folder)
        assert contents(folder) == before

    def test_an_empty_folder_may_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "caffe").mkdir()
        assert (stand_in(tmp_path / "caffe") / "README.md").is_file()

    def test_a_folder_of_somebody_else_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "caffe").mkdir()
        (tmp_path / "caffe/Makefile").write_text("all:\n", encoding="utf-8")
        outcome = amctc("compat", "caffe-dir", tmp_path / "caffe")
        assert outcome.status == 1 and "error[AM636]: this folder holds other things: `Makefile`" in outcome.stderr
        assert list(contents(tmp_path)) == ["caffe/Makefile"]

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "caffe").write_text("", encoding="utf-8")
        with pytest.raises(DiagnosticError) as refusal:
            write_caffe_dir(tmp_path / "caffe")
        assert refusal.value.diagnostics[0].code == "AM636"

    def test_another_action_is_wrong_usage(self, tmp_path: Path) -> None:
        assert amctc("compat", "caffe-folder", tmp_path / "caffe").status == 2


def test_without_torch_the_interface_for_modules_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amctc.torch_missing.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "amctc.compat.amct_pytorch", raising=False)
    with pytest.raises(DiagnosticError, match=r"AM900.*`amct_pytorch` needs torch"):
        importlib.import_module("amctc.compat.amct_pytorch")
