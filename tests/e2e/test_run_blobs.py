"""Blobs over several batches become one array, or a diagnostic where they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc import driver
from amctc.diagnostics import DiagnosticError
from tests.nets import data, layer, make_net

FILTERED = data("2 3") + data("2 1", "keep") + layer("some", "Filter", "data keep", "some")


def test_a_blob_whose_first_axis_the_data_decide_is_joined(tmp_path: Path) -> None:
    graph = make_net(tmp_path, FILTERED)
    samples = np.arange(18, dtype=np.float32).reshape(6, 3)
    chosen = np.array([[1], [0], [1], [1], [0], [0]], np.float32)
    found = driver.run_blobs(graph, driver.open_dataset(graph, {"data": samples, "keep": chosen}))
    np.testing.assert_array_equal(found["some"], samples[[0, 2, 3]])


def test_a_blob_whose_other_axes_differ_from_batch_to_batch_is_told(tmp_path: Path) -> None:
    graph = make_net(tmp_path, FILTERED + layer("turned", "Permute", "some", "turned", "permute_param { order: 1 }"))
    feeds = {"data": np.ones((4, 3), np.float32), "keep": np.array([[1], [0], [1], [1]], np.float32)}
    with pytest.raises(DiagnosticError, match="AM409"):
        driver.run_blobs(graph, driver.open_dataset(graph, feeds))
    found = driver.run_blobs(graph, driver.open_dataset(graph, feeds), batch_size=4)
    assert found["turned"].shape == (3, 3)
