"""What is installed is what is in the checkout: one package, every file of it, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest

from tests.quant.compiled_parts import COMPILERS
from tests.shared_files import ROOT

CONFIG: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS: dict[str, Any] = CONFIG["tool"]["setuptools"]
LINKS = {"demo": "examples/digits", "grammar": "grammar", "passes": "passes", "targets": "targets"}
NOT_SHIPPED = {".md"}  # notes for the reader of the repository
BUILT = {".so", ".pyd"}  # not in the repository, but beside it where the package was installed from the checkout


def checkout_files() -> Iterator[str]:
    """Every file of the package as the checkout shows it, as `amctc/…`."""
    for folder, subfolders, names in os.walk(ROOT / "amctc", followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        for name in names:
            if not name.startswith(".") and Path(name).suffix not in NOT_SHIPPED | BUILT:
                yield (Path(folder) / name).relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel built from a copy of the checkout that has no links: they must not be needed."""
    source = tmp_path_factory.mktemp("source")
    out = tmp_path_factory.mktemp("wheel")
    for name in ("amctc", "examples", "grammar", "passes", "targets"):
        _copy_without_links(ROOT / name, source / name)
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _copy_without_links(source: Path, destination: Path) -> None:
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        target = destination / Path(folder).relative_to(source)
        target.mkdir(parents=True, exist_ok=True)
        for name in (name for name in names if Path(name).suffix not in BUILT):
            (target / name).write_bytes((Path(folder) / name).read_bytes())


@pytest.mark.parametrize("name", LINKS)
def test_a_link_in_the_package_leads_to_its_folder(name: str) -> None:
    link = ROOT / "amctc" / name
    assert link.is_dir(), f"amctc/{name} is no folder: was the checkout made with core.symlinks=false?"
    assert link.resolve() == ROOT / LINKS[name]
    assert not link.is_symlink() or not link.readlink().is_absolute()


def test_the_wheel_has_one_top_level_name(wheel_files: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel_files}
    assert {name for name in top if not name.endswith(".dist-info")} == {"amctc"}


def test_the_wheel_holds_every_file_of_the_checkout_and_no_other(wheel_files: set[str]) -> None:
    carried = {name for name in wheel_files if name.startswith("amctc/") and Path(name).suffix not in BUILT}
    assert carried == set(checkout_files())


def test_the_wheel_holds_what_the_compiler_made(wheel_files: set[str]) -> None:
    built = {Path(name).name.split(".")[0] for name in wheel_files if Path(name).suffix in BUILT}
    assert built == ({"native_scan", "native_search"} if any(map(shutil.which, COMPILERS)) else set())


def test_every_folder_with_python_files_is_a_listed_package() -> None:
    folders = {Path(name).parent for name in checkout_files() if name.endswith(".py")}
    assert {folder.as_posix().replace("/", ".") for folder in folders} == set(SETUPTOOLS["packages"])


def test_a_mapped_package_and_its_link_name_the_same_folder() -> None:
    mapped = {name.removeprefix("amctc."): folder for name, folder in SETUPTOOLS["package-dir"].items()}
    assert mapped == {"amctc": "amctc", **LINKS}


def test_the_wheel_carries_the_licence_and_the_type_marker(wheel_files: set[str]) -> None:
    assert "amctc/py.typed" in wheel_files
    assert any(re.fullmatch(r"amctc-[^/]*\.dist-info/licenses/LICENSE", name) for name in wheel_files)


def test_the_embedded_example_is_read_as_package_data() -> None:
    files = {entry.name for entry in resources.files("amctc.demo").iterdir()}
    assert {"digits.prototxt", "digits.caffemodel", "digits.npz", "calibration.npz", "policy.cfg"} <= files


def test_the_installed_version_is_that_of_the_checkout() -> None:
    assert metadata.version("amctc") == CONFIG["project"]["version"]


def test_what_is_pinned_is_what_is_declared() -> None:
    lines = (ROOT / "requirements" / "run.in").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if not line.startswith("#")}
    assert listed == {*CONFIG["project"]["dependencies"], *CONFIG["build-system"]["requires"]}


def test_the_test_environment_keeps_every_pin_of_the_run_environment() -> None:
    run, test = (_pins(ROOT / "requirements" / f"{name}.txt") for name in ("run", "test"))
    # A condition on the platform may be wider where the tests too need the package.
    assert {pin.split(" ; ")[0] for pin in run} <= {pin.split(" ; ")[0] for pin in test}


def _pins(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.removesuffix(" \\") for line in lines if re.match(r"[a-z]", line)}


@pytest.mark.parametrize("name", ["run", "test"])
def test_every_pin_has_a_hash_and_none_names_a_place_to_fetch_from(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z])", text)[1:]
    assert blocks
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links", text)
