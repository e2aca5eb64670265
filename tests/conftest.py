"""What every test may use: the recorded figures beside the checkout, and how long property tests search."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.shared_files import SHARED

# Many tests start processes, and where no bytecode is kept each of these compiles the whole package anew, which is half
# of what it costs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


_HERE = Path(__file__).parent
_NEED_TORCH = tuple(
    _HERE / name for name in ("training", "modules", "rounding", "frontends/torch", "compat/amct_pytorch")
)

# `make test` runs without torch; `make test-torch` fails without it, as it then finds no test.
collect_ignore = [] if find_spec("torch") else [str(folder) for folder in _NEED_TORCH]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need torch: those of the folders named above."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in _NEED_TORCH):
            item.add_marker(pytest.mark.torch)


@pytest.fixture(autouse=True)
def one_torch_thread(request: pytest.FixtureRequest) -> None:
    """Let torch compute on one thread: the nets are small, and several processes of tests share the cores."""
    if request.node.get_closest_marker("torch") is not None:
        torch: Any = import_module("torch")  # by name: types are checked where there is none, too
        torch.set_num_threads(1)


def share_the_cores() -> None:
    """Let threads sleep while they wait, where several workers share the cores: spinning takes them from the others."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is loaded
    import onnxruntime

    make: Any = onnxruntime.SessionOptions

    def options() -> Any:
        made = make()
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return made

    onnxruntime.SessionOptions = options


if "PYTEST_XDIST_WORKER" in os.environ:
    share_the_cores()

# Shared machines are slow at times: no deadline. `make test` tries the same examples each time,
# `make fuzz` new ones.
settings.register_profile(
    "test", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=5000,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the recorded figures and the real models; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the recorded figures and real models (../shared) are not here")
    return SHARED
