"""Tests of training need torch: they are marked so, and where it is not installed none of them is collected."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

_HERE = Path(__file__).parent

# `make test` runs without torch; `make test-torch` fails without it, as it then finds no test.
collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder; the hook is asked about every item of the run."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.torch)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Let torch compute on one thread: the nets are small, and several processes of tests share the cores."""
    import torch

    torch.set_num_threads(1)
