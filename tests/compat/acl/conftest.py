"""The folder that tests of `aclgrph_calibration` work in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.compat.acl.desk import TWO, images, write_air


@pytest.fixture(scope="session")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the float `.air` files, written once."""
    folder = tmp_path_factory.mktemp("nets")
    write_air(folder)
    write_air(folder, TWO, "two")
    return folder


@pytest.fixture
def desk(nets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: with both files, and `data.bin` of six samples."""
    for path in nets.glob("*.air"):
        shutil.copy(path, tmp_path)
    images().tofile(tmp_path / "data.bin")
    monkeypatch.chdir(tmp_path)
    for name in ("AMCT_LOG_DUMP", "ASCEND_WORK_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
