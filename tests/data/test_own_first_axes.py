"""Inputs whose first axes are no common batch axis: an image and its regions, an LSTM's steps and static input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amctc
from amctc import driver
from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.frontends import load_model
from amctc.runtime.datasets import Data, Dataset
from amctc.runtime.samples import Batch
from tests.nets import data, layer, write_net

INPUTS = {"image": (1, 2, 4, 4), "regions": (3, 5)}


def arrays(images: int, regions: int) -> Batch:
    return {
        "image": np.arange(images * 32, dtype=np.float32).reshape(images, 2, 4, 4),
        "regions": np.arange(regions * 5, dtype=np.float32).reshape(regions, 5),
    }


def refused(given: Data) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        list(Dataset.open(given, inputs=INPUTS).batches(1))
    (told,) = caught.value.diagnostics
    return told


def test_a_sample_is_what_the_model_declares_of_each_input(tmp_path: Path) -> None:
    given = arrays(4, 12)
    np.savez(tmp_path / "data.npz", **given)  # type: ignore[arg-type]  # its stub takes allow_pickle for an array name
    given["image"].tofile(tmp_path / "image.bin")
    given["regions"].tofile(tmp_path / "regions.bin")
    several: tuple[Data, ...] = (
        given,
        tmp_path / "data.npz",
        f"{tmp_path / 'image.bin'},{tmp_path / 'regions.bin'}",
        [{"image": given["image"][i : i + 1], "regions": given["regions"][3 * i : 3 * i + 3]} for i in range(4)],
    )
    for found in several:
        dataset = Dataset.open(found, inputs=INPUTS)
        assert len(dataset) == 4
        first, second = dataset.select(1).batches(2)
        np.testing.assert_array_equal(first["image"], given["image"][1:3])
        np.testing.assert_array_equal(first["regions"], given["regions"][3:9])
        np.testing.assert_array_equal(second["regions"], given["regions"][9:])


def test_a_single_image_may_have_any_number_of_regions() -> None:
    dataset = Dataset.open(arrays(1, 7), inputs=INPUTS)
    assert len(dataset) == 1
    (batch,) = dataset.batches(1)
    assert batch["regions"].shape == (7, 5)


def test_the_items_of_a_list_may_have_any_number_of_regions() -> None:
    dataset = Dataset.open([arrays(1, 7), arrays(1, 2)], inputs=INPUTS)
    assert len(dataset) == 2
    assert [len(batch["regions"]) for batch in dataset.batches(1)] == [7, 2]
    assert [batch["regions"].shape for batch in dataset.batches(2)] == [(9, 5)]


def test_parts_of_samples_are_refused() -> None:
    told = refused(arrays(4, 11))
    assert told.code == "AM443"
    assert "`regions` has 11 rows, 3 a sample" in told.message


def test_other_numbers_of_samples_are_refused() -> None:
    told = refused(arrays(4, 9))
    assert told.message == "the inputs differ in their number of samples: `image` has 4, `regions` has 3"


def test_an_item_of_a_list_needs_its_first_axes() -> None:
    given = arrays(1, 3)
    told = refused([{"image": given["image"][0], "regions": given["regions"]}])
    assert told.code == "AM402"
    assert "without its first axis" in told.message


def test_an_lstm_with_a_static_input_compiles(tmp_path: Path) -> None:
    text = data("5 2 8", "x") + data("5 2", "cont") + data("2 3", "static")
    text += layer("lstm", "LSTM", "x cont static", "h", "recurrent_param { num_output: 4 }")
    model, weights = write_net(tmp_path, text)
    policy = tmp_path / "policy.cfg"
    policy.write_text("batch_num: 2", encoding="utf-8")
    rng = np.random.default_rng(0)
    given = {
        "x": rng.normal(size=(10, 2, 8)).astype(np.float32),
        "cont": np.tile(np.array([0, 1, 1, 1, 1], np.float32)[:, None], (2, 2)),
        "static": rng.normal(size=(4, 3)).astype(np.float32),
    }
    amctc.compile(model, weights, policy=policy, data=given, output=tmp_path / "q")
    graph = load_model(tmp_path / "q_deploy_model.prototxt", tmp_path / "q_deploy_weights.caffemodel")
    found = driver.run_blobs(graph, driver.open_dataset(graph, given))
    assert found["h"].shape == (10, 2, 4)
    second = amctc.run(graph, {"x": given["x"][5:], "cont": given["cont"][5:], "static": given["static"][2:]})
    np.testing.assert_array_equal(found["h"][5:], second["h"])
