"""The compiled parts, for tests of them."""

from __future__ import annotations

import shutil
from typing import TypeVar

import pytest

from amctc.quant import compiled
from amctc.quant.compiled import Scan, Search

Part = TypeVar("Part", Scan, Search)

COMPILERS = ("cc", "gcc", "clang")


def scan_code() -> Scan:
    """What looks at values; skips the test where nothing can have built it."""
    return _built(compiled.SCAN)


def search_code() -> Search:
    """The inner loops of searches; skips the test where nothing can have built them."""
    return _built(compiled.SEARCH)


def _built(part: Part | None) -> Part:
    if part is not None:
        return part
    if any(map(shutil.which, COMPILERS)):
        pytest.fail("there is a C compiler, and the compiled parts are not there: install the package anew")
    pytest.skip("without a C compiler the package has no compiled parts")
