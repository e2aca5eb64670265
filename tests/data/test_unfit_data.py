"""Data that do not fit the inputs of a model are refused: missing ones, other shapes, what is no number."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.runtime.datasets import Data, Dataset
from amctc.runtime.preprocess import Preprocess
from tests.data.samples import (
    INPUTS,
    SAMPLES,
    TWO,
    every_kind,
    everything,
    refusal,
    refused,
    write_bin,
    write_images,
    write_npy,
    write_npz,
)


def test_a_missing_path_suggests_its_neighbour(tmp_path: Path) -> None:
    write_npy(tmp_path / "train.npy")
    told = refusal(tmp_path / "trian.npy")
    assert told.code == "AM440" and told.help == "did you mean `train.npy`?"
    assert told.message == f"there is no file or folder `{tmp_path / 'trian.npy'}`"
    assert refusal("no\0file").code == "AM440"
    assert refusal("x" * 5000).code == "AM440"
    assert refusal(f"{tmp_path}/nowhere/a.png").code == "AM440"


def test_an_object_that_is_no_data_is_refused() -> None:
    number: Any = 5
    told = refusal(number)
    assert (told.code, told.message) == ("AM440", "data of the type `int` are neither a path, an array nor an iterable")


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    told = refusal(tmp_path)
    assert (told.code, told.message) == ("AM440", f"folder `{tmp_path}` is empty")
    (tmp_path / "a.txt").write_text("")
    told = refusal(tmp_path)
    assert (told.code, told.message) == ("AM440", f"`{tmp_path}` holds no data that can be read")
    assert told.help is not None and told.help.startswith("data are `.npz`, `.npy`, `.bin` files, images")
    told = refusal(f"{tmp_path}/*.png")
    assert (told.code, told.message) == ("AM440", f"no file matches `{tmp_path}/*.png`")
    (tmp_path / "b.npz").mkdir()
    assert refusal(tmp_path / "b.npz").message == f"`{tmp_path / 'b.npz'}` is a folder, not a file"


def test_a_folder_with_two_kinds_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_bin(tmp_path / "a.bin")
    told = refusal(tmp_path)
    assert told.code == "AM440"
    assert told.message == f"`{tmp_path}` holds both images (`0.png`) and .bin files (`a.bin`)"


def test_a_missing_input_names_what_is_there(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", dota=SAMPLES, label=np.arange(7))
    told = refusal(path)
    assert (told.code, told.message) == ("AM400", "the data lack the input `data`; they hold `dota`, `label`")
    assert told.help == "did you mean `dota`?" and told.file == str(path)
    assert refusal({"x": SAMPLES}).message == "the data lack the input `data`; they hold `x`"
    told = refused(lambda: everything(Dataset.open(iter([{"x": SAMPLES[0]}]), inputs=INPUTS)))
    assert told.message == "the data lack the input `data`; they hold `x`"
    assert refusal(SAMPLES, {}).message == "the model has no inputs to give data to"


def test_data_for_one_input_cannot_feed_two(tmp_path: Path) -> None:
    assert refusal(SAMPLES, TWO).message == "one array cannot feed the inputs `left`, `right`"
    path = write_npy(tmp_path / "a.npy")
    assert refusal(path, TWO).message == "an .npy file feeds one input, the model has 2: `left`, `right`"
    folder = write_images(tmp_path / "in")
    assert refusal(folder, TWO).message == "a set of images feeds one input, the model has 2: `left`, `right`"
    told = refusal(write_bin(tmp_path / "a.bin"), TWO)
    assert told.message == "a set of .bin files feeds one input, the model has 2: `left`, `right`"
    told = refusal("a.bin,b.bin,c.bin", TWO)
    assert told.message == "the list has 3 entries, the model has 2 inputs: `left`, `right`"
    told = refusal([SAMPLES[0]], TWO)
    assert told.message == "sample 0 is a single array, the model has the inputs `left`, `right`"
    assert told.code == "AM400"


def test_a_wrong_shape_tells_both_shapes(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "a.npy", SAMPLES[:, :, :2])
    told = refusal(path)
    assert (told.code, told.file) == ("AM402", str(path))
    assert told.message == "input `data` takes samples of shape (3, 4, 5), the array holds (3, 2, 5)"
    assert told.help == "the whole array is (7, 3, 2, 5); its first axis is the samples"
    told = refusal(SAMPLES, {"data": (1, 3, 0, 9)})
    assert told.message == "input `data` takes samples of shape (3, ?, 9), the array holds (3, 4, 5)"
    told = refusal([SAMPLES[0], SAMPLES[0, :2]])
    assert told.message == "input `data` takes samples of shape (3, 4, 5), sample 1 has (2, 4, 5)"
    told = refusal(np.zeros(()))
    assert told.message == "the array of input `data` is a single number; its first axis must be the samples"
    told = refusal(np.zeros((7, 4)), {"data": (1, 3)})
    assert told.message == "input `data` takes samples of shape (3,), the array holds (4,)"


@pytest.mark.parametrize(
    ("inputs", "preprocess", "help"),
    [
        ((1, 3, 9, 8), None, "add `resize=8x9`, or `resize-short` and `center-crop`, to the preprocessing"),
        ((1, 9, 8, 3), "layout=hwc", "add `resize=8x9`, or `resize-short` and `center-crop`, to the preprocessing"),
        ((1, 9, 8, 3), None, "this input has its channels last: add `layout=hwc` to the preprocessing"),
        ((1, 1, 4, 5), None, "add `gray` to the preprocessing"),
        ((1, 20), None, None),
        ((1, 2, 0, 0), None, None),
    ],
)
def test_an_image_of_another_shape_says_which_step_to_add(
    tmp_path: Path, inputs: tuple[int, ...], preprocess: str | None, help: str | None
) -> None:
    steps = Preprocess.parse(preprocess) if preprocess else None
    dataset = Dataset.open(write_images(tmp_path / "in"), inputs={"data": inputs}, preprocess=steps)
    told = refused(lambda: everything(dataset))
    assert (told.code, told.help) == ("AM402", help)
    assert told.message.startswith("input `data` takes samples of shape (") and "0.png` gives (" in told.message


def test_inputs_of_different_length_are_refused(tmp_path: Path) -> None:
    left, right = np.zeros((4, 2)), np.zeros((5, 3))
    message = "the inputs differ in their number of samples: `left` has 4, `right` has 5"
    told = refusal(write_npz(tmp_path / "a.npz", left=left, right=right), TWO)
    assert (told.code, told.message) == ("AM443", message)
    assert refusal({"left": left, "right": right}, TWO).message == message
    data = f"{write_bin(tmp_path / 'l.bin', left)},{write_bin(tmp_path / 'r.bin', right)}"
    assert refusal(data, TWO).message == message
    told = refused(lambda: list(Dataset.open([{"left": left, "right": right}], inputs=TWO).batches(1)))
    assert told.message == f"from sample 0 on {message}"


def test_data_without_samples_are_refused(tmp_path: Path) -> None:
    empty = SAMPLES[:0]
    data: list[Data] = [write_npz(tmp_path / "a.npz", data=empty), write_npy(tmp_path / "a.npy", empty), empty]
    for each in data:
        told = refusal(each)
        assert (told.code, told.message) == ("AM440", "the data hold no samples")


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((2, 2), np.complex64), "complex numbers"),
        (np.array([["a", "b"]]), "text"),
        (np.array([[b"a", b"b"]]), "text"),
        (np.zeros((2, 2), [("a", "f4")]), "records"),
        (np.array([[{}, {}]], object), "Python objects"),
    ],
)
def test_anything_but_numbers_is_refused(tmp_path: Path, array: NDArray[Any], kind: str) -> None:
    inputs = {"data": (1, 2)}
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    write_npz(tmp_path / "a.npz", data=array)
    told = refusal(tmp_path / "a.npy", inputs)
    assert (told.code, told.message) == ("AM442", f"`{tmp_path / 'a.npy'}` holds {kind}, not numbers")
    assert refusal(tmp_path / "a.npz", inputs).message == f"`data` holds {kind}, not numbers"
    assert refusal(array, inputs).message == f"the array of input `data` holds {kind}, not numbers"
    assert refusal(list(array), inputs).message == f"sample 0 of input `data` holds {kind}, not numbers"


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e300, "inf")])
def test_a_value_that_is_not_finite_names_its_sample(tmp_path: Path, value: float, shown: str) -> None:
    data = SAMPLES.astype(np.float64)
    data[5, 1, 2, 3] = value
    kinds: list[Data] = [data, list(data), write_npy(tmp_path / "a.npy", data)]
    if abs(value) != 1e300:
        kinds.append(write_bin(tmp_path / "a.bin", data))
    for each in kinds:
        dataset = Dataset.open(each, inputs=INPUTS).select(1)
        assert len(next(dataset.batches(4))["data"]) == 4
        told = refused(partial(everything, dataset))
        place = f" (from byte 1200 of `{each}`)" if str(each).endswith(".bin") else ""
        assert (told.code, told.message) == ("AM404", f"sample 5 of input `data`{place} holds {shown} as float32")
        assert told.file == (str(each) if isinstance(each, Path) else None)


def test_preprocessing_that_overflows_is_told_too() -> None:
    dataset = Dataset.open(SAMPLES, inputs=INPUTS, preprocess=Preprocess.parse("scale=1e38"))
    assert refused(lambda: everything(dataset)).code == "AM404"


def test_without_pillow_the_extra_to_install_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_images(tmp_path / "in")
    monkeypatch.setitem(sys.modules, "PIL", None)
    told = refusal(folder)
    assert (told.code, told.message) == ("AM445", "reading images needs Pillow, which is not installed")
    assert told.help == "pip install 'amctc[images]'"


def test_steps_for_images_are_refused_for_every_kind_of_array(tmp_path: Path) -> None:
    for data in [*every_kind(tmp_path), iter(SAMPLES)]:
        told = refusal(data, preprocess="resize=8")
        assert (told.code, told.message) == ("AM447", "`resize` works on images, the data are arrays")
