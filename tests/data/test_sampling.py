"""At most so many samples: the first, or a choice by a seed."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.runtime.datasets import Dataset, require_batches
from amctc.runtime.labels import Labels
from amctc.runtime.sampling import chosen_numbers
from tests.data.samples import (
    INPUTS,
    SAMPLES,
    TWO,
    every_kind,
    everything,
    refused,
    write_bin,
    write_images,
    write_npz,
    yielded,
)


@given(st.integers(0, 200), st.integers(1, 220), st.integers(0, 2**70))
def test_a_choice_is_of_different_numbers_that_ascend_and_holds_smaller_ones(total: int, count: int, seed: int) -> None:
    numbers = chosen_numbers(total, count, seed)
    assert len(numbers) == min(total, count)
    assert all(before < after for before, after in pairwise(numbers))
    assert all(0 <= number < total for number in numbers)
    assert set(chosen_numbers(total, max(1, count // 2), seed)) <= set(numbers)


def test_a_choice_stays_the_same() -> None:
    assert chosen_numbers(1000, 5, 0) == (11, 269, 850, 855, 921)
    assert chosen_numbers(1000, 5, 1) == (93, 323, 458, 622, 828)


def test_all_numbers_are_as_likely() -> None:
    found = np.zeros(20)
    for seed in range(2000):
        found[list(chosen_numbers(20, 5, seed))] += 1
    assert abs(found / 2000 - 0.25).max() < 0.05  # five standard deviations


@pytest.mark.parametrize("kind", range(10))
def test_every_kind_of_data_gives_the_samples_that_are_chosen(tmp_path: Path, kind: int) -> None:
    dataset = Dataset.open(every_kind(tmp_path)[kind], inputs=INPUTS)
    assert np.array_equal(everything(dataset.sample(4)), SAMPLES[:4])
    assert np.array_equal(everything(dataset.sample(99)), SAMPLES)
    for seed in range(5):
        numbers = list(chosen_numbers(7, 4, seed))
        sampled = dataset.sample(4, seed)
        assert len(sampled) == 4
        np.testing.assert_array_equal(everything(sampled), SAMPLES[numbers])
        np.testing.assert_array_equal(everything(sampled.select(1, 3), 1), SAMPLES[numbers[1:3]])
    sampled, numbers = dataset.sample(4, 0), list(chosen_numbers(7, 4, 0))
    again = [numbers[number] for number in chosen_numbers(4, 2, 9)]
    np.testing.assert_array_equal(everything(sampled.sample(2, 9)), SAMPLES[again])
    later = [2 + number for number in chosen_numbers(5, 2, 3)]
    np.testing.assert_array_equal(everything(dataset.select(2).sample(2, 3)), SAMPLES[later])


@pytest.mark.parametrize("packed", [False, True])
def test_large_arrays_are_sampled_in_their_order(tmp_path: Path, packed: bool) -> None:
    array = np.arange(300 * 5000, dtype=np.float32).reshape(300, 5000)
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", data=array)
    dataset = Dataset.open(tmp_path / "a.npz", inputs={"data": (1, 5000)}).sample(50, 0)
    np.testing.assert_array_equal(everything(dataset, 8), array[list(chosen_numbers(300, 50, 0))])


def test_images_and_several_inputs_are_sampled(tmp_path: Path) -> None:
    images = Dataset.open(write_images(tmp_path / "in", 10), inputs=INPUTS).sample(4, 0)
    assert images.names is not None
    numbers = list(chosen_numbers(10, 4, 0))
    assert [Path(name).stem for name in images.names] == [str(number) for number in numbers]
    np.testing.assert_array_equal(everything(images)[:, 0, 0, 0], numbers)
    left, right = SAMPLES.reshape(7, -1)[:, :2], SAMPLES.reshape(7, -1)[:, 5:8]
    data = f"{write_bin(tmp_path / 'l.bin', left)},{write_bin(tmp_path / 'r.bin', right)}"
    numbers = list(chosen_numbers(7, 4, 0))
    (batch,) = Dataset.open(data, inputs=TWO).sample(4, 0).batches(9)
    np.testing.assert_array_equal(batch["left"], left[numbers])
    np.testing.assert_array_equal(batch["right"], right[numbers])


def test_labels_are_those_of_the_samples_that_are_chosen(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", data=SAMPLES, label=np.arange(7) * 3)
    dataset = Dataset.open(path, inputs=INPUTS).sample(4, 1)
    wanted = np.array(chosen_numbers(7, 4, 1)) * 3
    np.testing.assert_array_equal(Labels.open("label", dataset).values, wanted)
    np.testing.assert_array_equal(Labels.open("label", dataset.select(1, 3)).values, wanted[1:3])


def test_a_mistake_names_the_number_in_the_whole_data(tmp_path: Path) -> None:
    data = SAMPLES.copy()
    data[[2, 5]] = np.nan
    first = next(number for number in chosen_numbers(7, 4, 0) if number in (2, 5))
    told = refused(lambda: everything(Dataset.open(data, inputs=INPUTS).sample(4, 0), 9))
    assert told.message == f"sample {first} of input `data` holds nan as float32"
    told = refused(lambda: everything(Dataset.open(list(data), inputs=INPUTS).sample(4, 0), 9))
    assert told.message == f"sample {first} of input `data` holds nan as float32"
    path = write_bin(tmp_path / "a.bin", data)
    told = refused(lambda: everything(Dataset.open(path, inputs=INPUTS).sample(4, 0), 9))
    assert f"from byte {first * 240} of" in told.message


def test_data_of_unknown_length_give_their_first_samples_only() -> None:
    np.testing.assert_array_equal(everything(Dataset.open(yielded(), inputs=INPUTS).sample(3)), SAMPLES[:3])
    told = refused(lambda: Dataset.open(yielded(), inputs=INPUTS).sample(3, 0))
    assert told.code == "AM446" and told.message.startswith("a random choice of samples needs their number")


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    dataset = Dataset.open(SAMPLES, inputs=INPUTS)
    told = refused(lambda: dataset.sample(0))
    assert (told.code, told.message) == ("AM456", "`max_samples` must be at least 1, not 0")
    told = refused(lambda: dataset.sample(3, -1))
    assert (told.code, told.message) == ("AM456", "`sample_seed` must be at least 0, not -1")


def test_a_policy_that_wants_more_than_is_left_is_told_so() -> None:
    for data in (SAMPLES, yielded()):
        dataset = Dataset.open(data, inputs=INPUTS).sample(5)
        require_batches(dataset, 5, 1)
        told = refused(partial(require_batches, dataset, 3, 2))
        assert told.code == "AM403"
        assert told.message == "the policy asks for 2 batches of 3 samples, `--max-samples` leaves 5 samples"
        assert told.help == "keep at least 6 samples, or lower `batch_num` or the batch size"
