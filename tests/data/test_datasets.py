from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.runtime.datasets import Data, Dataset, require_batches
from amctc.runtime.images import read_image
from amctc.runtime.preprocess import Preprocess
from tests.shared_files import ASSETS, needs_assets

INPUTS = {"data": (1, 3, 4, 5)}
TWO = {"left": (1, 2), "right": (1, 3)}
SAMPLES = np.arange(7 * 60, dtype=np.float32).reshape(7, 3, 4, 5)


def refused(call: Callable[[], object]) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        call()
    (told,) = caught.value.diagnostics
    return told


def refusal(data: Data, inputs: Mapping[str, tuple[int, ...]] = INPUTS, preprocess: str | None = None) -> Diagnostic:
    """What is told about data that cannot be opened."""
    steps = Preprocess.parse(preprocess) if preprocess is not None else None
    return refused(lambda: Dataset.open(data, inputs=inputs, preprocess=steps))


def sizes(dataset: Dataset, batch_size: int, limit: int | None = None, exact: bool = False) -> list[int]:
    return [len(batch["data"]) for batch in dataset.batches(batch_size, limit, exact=exact)]


def everything(dataset: Dataset, batch_size: int = 3) -> NDArray[np.float32]:
    return np.concatenate([batch["data"] for batch in dataset.batches(batch_size)])


def write_npz(path: Path, **arrays: NDArray[Any]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub takes the keyword allow_pickle for an array name
    return path


def write_npy(path: Path, array: NDArray[Any] = SAMPLES) -> Path:
    np.save(path, array)
    return path


def write_bin(path: Path, array: NDArray[Any] = SAMPLES) -> Path:
    path.write_bytes(array.astype("<f4").tobytes())
    return path


def write_images(folder: Path, count: int = 3, size: tuple[int, int] = (5, 4)) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        Image.new("RGB", size, (number, 100, 200)).save(folder / f"{number}.png")
    return folder


def yielded() -> Iterator[NDArray[np.float32]]:
    yield from SAMPLES


def every_kind(folder: Path) -> list[Data]:
    return [
        write_npz(folder / "a.npz", data=SAMPLES, label=np.arange(7)),
        str(write_npy(folder / "a.npy")),
        write_npy(folder / "fortran.npy", np.asfortranarray(SAMPLES)),
        write_bin(folder / "a.bin"),
        f"{write_bin(folder / 'b.bin', SAMPLES[:3])},{write_bin(folder / 'c.bin', SAMPLES[3:])}",
        SAMPLES,
        {"data": SAMPLES, "label": np.arange(7)},
        list(SAMPLES),
        [SAMPLES[:2], SAMPLES[2:]],
        [{"data": sample} for sample in SAMPLES],
        yielded(),
        (SAMPLES[start : start + 1] for start in range(7)),
    ]


@pytest.mark.parametrize("kind", range(12))
def test_every_kind_of_data_gives_the_same_samples(tmp_path: Path, kind: int) -> None:
    dataset = Dataset.open(every_kind(tmp_path)[kind], inputs=INPUTS)
    batches = [batch["data"] for batch in dataset.batches(3)]
    assert [batch.shape for batch in batches] == [(3, 3, 4, 5), (3, 3, 4, 5), (1, 3, 4, 5)]
    assert all(batch.dtype == np.float32 and batch.flags.c_contiguous for batch in batches)
    np.testing.assert_array_equal(np.concatenate(batches), SAMPLES)


@pytest.mark.parametrize("kind", range(10))
def test_data_that_can_be_read_again_know_their_length_and_can_be_cut(tmp_path: Path, kind: int) -> None:
    dataset = Dataset.open(every_kind(tmp_path)[kind], inputs=INPUTS)
    assert len(dataset) == 7
    part = dataset.select(2, 6)
    assert len(part) == 4
    np.testing.assert_array_equal(everything(part), SAMPLES[2:6])
    np.testing.assert_array_equal(everything(part.select(1)), SAMPLES[3:6])
    np.testing.assert_array_equal(everything(part.select(0, 99)), SAMPLES[2:6])
    assert len(part.select(4)) == 0 and len(dataset.select(9)) == 0
    np.testing.assert_array_equal(everything(dataset), SAMPLES)


def test_an_iterator_is_read_once_and_no_further_than_asked() -> None:
    items = yielded()
    dataset = Dataset.open(items, inputs=INPUTS)
    assert dataset.count is None and bool(dataset)
    np.testing.assert_array_equal(everything(dataset.select(1, 3)), SAMPLES[1:3])
    np.testing.assert_array_equal(next(items), SAMPLES[3])
    told = refused(lambda: everything(dataset))
    assert told.code == "AM446"
    assert told.message == "the data come from an iterator, which can be read only once, and it has been read"
    told = refused(lambda: len(dataset))
    assert (told.code, told.message) == ("AM446", "the number of samples is not known before the data have been read")


def test_batches_stop_at_the_limit() -> None:
    dataset = Dataset.open(SAMPLES, inputs=INPUTS)
    assert sizes(dataset, 3) == [3, 3, 1]
    assert sizes(dataset, 3, exact=True) == [3, 3]
    assert sizes(dataset, 3, limit=1) == [3]
    assert sizes(dataset, 2, limit=9) == [2, 2, 2, 1]
    assert sizes(dataset.select(1, 5), 3, limit=2) == [3, 1]
    assert sizes(dataset, 100) == [7]
    assert sizes(dataset, 3, limit=0) == []


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_batches_laid_end_to_end_are_the_slice(size: int, start: int, length: int, as_items: bool) -> None:
    data: Data = list(SAMPLES) if as_items else SAMPLES
    dataset = Dataset.open(data, inputs=INPUTS).select(start, start + length)
    parts = [batch["data"] for batch in dataset.batches(size)]
    assert all(len(part) == size for part in parts[:-1])
    expected = SAMPLES[start : start + length]
    np.testing.assert_array_equal(np.concatenate(parts) if parts else expected[:0], expected)


@pytest.mark.parametrize("data", [SAMPLES[:5], list(SAMPLES[:5])], ids=["array", "list"])
def test_too_few_batches_are_told_before_reading(data: Data) -> None:
    dataset = Dataset.open(data, inputs=INPUTS)
    require_batches(dataset, 2, 2)
    told = refused(lambda: require_batches(dataset, 2, 3))
    assert told.code == "AM403"
    assert told.message == "the policy asks for 3 batches of 2 samples, the data holds only 5 samples"
    assert told.help == "give at least 6 samples, or lower `batch_num` or the batch size"


def test_too_few_batches_of_an_iterator_are_told_while_reading() -> None:
    dataset = Dataset.open(yielded(), inputs=INPUTS)
    require_batches(dataset, 32, 2)
    told = refused(lambda: sizes(dataset, 32, limit=1, exact=True))
    assert told.code == "AM403"
    assert told.message == "the policy asks for 1 batch of 32 samples, the data holds only 7 samples"


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_under_one_is_refused(size: int) -> None:
    told = refused(lambda: sizes(Dataset.open(SAMPLES, inputs=INPUTS), size))
    assert (told.code, told.message) == ("AM448", f"the batch size must be at least 1, not {size}")


def test_a_selection_does_not_count_from_the_end() -> None:
    with pytest.raises(ValueError, match="starts and stops at 0 or more"):
        Dataset.open(SAMPLES, inputs=INPUTS).select(-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64, np.bool_, ">f4"])
def test_numbers_of_any_type_become_float32(dtype: Any) -> None:
    data = (SAMPLES % 2).astype(dtype)
    result = everything(Dataset.open(data, inputs=INPUTS))
    assert result.dtype == np.dtype(np.float32) and result.dtype.isnative
    np.testing.assert_array_equal(result, SAMPLES % 2)


def test_batches_are_copies_that_may_be_written_to() -> None:
    data = SAMPLES.copy()
    for batch in Dataset.open(data, inputs=INPUTS, preprocess=Preprocess.parse("mean=5")).batches(2):
        batch["data"] += 1
    np.testing.assert_array_equal(data, SAMPLES)


def test_only_a_batch_of_images_is_decoded_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counting(path: Path, preprocess: Preprocess) -> NDArray[np.float32]:
        decoded.append(path.name)
        return read_image(path, preprocess)

    monkeypatch.setattr("amctc.runtime.sources.read_image", counting)
    dataset = Dataset.open(write_images(tmp_path / "in", 5), inputs=INPUTS)
    batches = dataset.select(1).batches(2)
    assert decoded == []
    next(batches)
    assert decoded == ["1.png", "2.png"]
    next(batches)
    assert decoded == ["1.png", "2.png", "3.png", "4.png"]


def test_images_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 3)
    (folder / "labels.csv").write_text("1")
    (folder / "inner").mkdir()
    (folder / "0.png").rename(folder / "b.PNG")
    for data in (str(folder), str(folder / "*.[pP]*"), f"{tmp_path}/**/*.*[gG]"):
        dataset = Dataset.open(data, inputs=INPUTS)
        assert dataset.names is not None
        assert [Path(name).name for name in dataset.names] == ["1.png", "2.png", "b.PNG"]
        np.testing.assert_array_equal(everything(dataset)[:, 0, 0, 0], [1, 2, 0])
        assert dataset.select(1, 2).names == (str(folder / "2.png"),)
    assert len(Dataset.open(folder / "2.png", inputs=INPUTS)) == 1


def test_images_are_preprocessed(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 2, (50, 40))
    steps = Preprocess.parse("resize=5x4,bgr,mean=100")
    batch = everything(Dataset.open(folder, inputs=INPUTS, preprocess=steps))
    np.testing.assert_array_equal(batch[1, :, 0, 0], [100, 0, -99])


def test_several_inputs_are_read_side_by_side(tmp_path: Path) -> None:
    left, right = SAMPLES.reshape(7, -1)[:, :2], SAMPLES.reshape(7, -1)[:, 5:8]
    write_bin(tmp_path / "r.bin", right)
    folder = tmp_path / "left"
    folder.mkdir()
    write_bin(folder / "0.bin", left[:3])
    write_bin(folder / "1.bin", left[3:])
    kinds: list[Data] = [
        write_npz(tmp_path / "a.npz", left=left, right=right),
        f"{folder}, {tmp_path / 'r.bin'}",
        {"left": left, "right": right},
        [{"left": left[:4], "right": right[:4]}, {"left": left[4:], "right": right[4:]}],
    ]
    for data in kinds:
        batches = list(Dataset.open(data, inputs=TWO).select(1).batches(4))
        np.testing.assert_array_equal(np.concatenate([batch["left"] for batch in batches]), left[1:])
        np.testing.assert_array_equal(np.concatenate([batch["right"] for batch in batches]), right[1:])


def test_of_several_inputs_only_the_images_are_preprocessed() -> None:
    inputs = {"data": (1, 3, 4, 5), "im_info": (1, 3)}
    info = np.ones((7, 3), np.float32)
    steps = Preprocess.parse("scale=2")
    (batch,) = Dataset.open({"data": SAMPLES, "im_info": info}, inputs=inputs, preprocess=steps).batches(7)
    np.testing.assert_array_equal(batch["data"], SAMPLES * 2)
    np.testing.assert_array_equal(batch["im_info"], info)


@pytest.mark.parametrize("declared", [(64, 3, 4, 5), (0, 3, -1, 0), ()])
def test_the_batch_axis_and_free_sides_need_not_match(declared: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(everything(Dataset.open(SAMPLES, inputs={"data": declared})), SAMPLES)


def test_with_a_free_shape_only_the_rank_must_match(tmp_path: Path) -> None:
    inputs = {"data": (1, 3, 224, 224)}
    assert everything(Dataset.open(SAMPLES, inputs=inputs, free_shape=True)).shape == SAMPLES.shape
    assert refused(lambda: Dataset.open(SAMPLES[0], inputs=inputs, free_shape=True)).code == "AM402"
    folder = write_images(tmp_path / "in", 2)
    dataset = Dataset.open(folder, inputs=inputs, free_shape=True)
    assert everything(dataset).shape == (2, 3, 4, 5)
    Image.new("RGB", (6, 4)).save(folder / "2.png")
    told = refused(lambda: everything(Dataset.open(folder, inputs=inputs, free_shape=True), 2))
    assert told.code == "AM402"
    assert told.message == f"image `{folder / '2.png'}` gives (3, 4, 6), the images before it (3, 4, 5)"
    told = refused(lambda: everything(Dataset.open([SAMPLES[0], SAMPLES[0, :, :2]], inputs=inputs, free_shape=True)))
    assert told.message == "sample 1 of input `data` is (3, 2, 5), those before it (3, 4, 5)"


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
        assert (told.code, told.message) == ("AM404", f"sample 5 of input `data` holds {shown} as float32")


def test_preprocessing_that_overflows_is_told_too() -> None:
    dataset = Dataset.open(SAMPLES, inputs=INPUTS, preprocess=Preprocess.parse("scale=1e38"))
    assert refused(lambda: everything(dataset)).code == "AM404"


def test_a_raw_file_must_be_whole_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0" * 250)
    told = refusal(path)
    assert (told.code, told.file) == ("AM402", str(path))
    assert told.message == (
        f"`{path}` has 250 bytes, which is not a whole number of samples: one of input `data`, "
        "float32 (3, 4, 5), takes 240"
    )
    path.write_bytes(b"")
    assert refusal(path).code == "AM402"
    told = refusal(write_bin(path), {"data": (1, 3, 0, 5)})
    assert told.message == "the shape of input `data` is not fixed, and a .bin file does not hold it"


def test_a_raw_file_that_shrinks_is_told(tmp_path: Path) -> None:
    path = write_bin(tmp_path / "a.bin")
    dataset = Dataset.open(path, inputs=INPUTS)
    os.truncate(path, 300)
    told = refused(lambda: everything(dataset))
    assert (told.code, told.message) == ("AM441", f"`{path}` became shorter while it was read")
    path.unlink()
    assert refused(lambda: everything(dataset)).message == f"`{path}` cannot be read: No such file or directory"


def npy_bytes(shape: str, version: int = 1) -> bytes:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(head).to_bytes(2 if version == 1 else 4, "little") + head


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x93NUMPY\x09\x00",
        npy_bytes("(1, 3, 4, 5)"),
        npy_bytes("(100000000000, 3, 4, 5)"),
        npy_bytes("(-1, 3, 4, 5)"),
        npy_bytes("__import__('os').getcwd()"),
        npy_bytes("(1, 3, 4, 5)", 3),
    ],
)
def test_a_damaged_array_file_is_refused_without_taking_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("data.npy", content)
    (tmp_path / "b.npz").write_bytes(content)
    for name in ("a.npy", "a.npz", "b.npz"):
        told = refusal(tmp_path / name)
        assert told.code == "AM441"
        assert told.message.startswith(f"`{tmp_path / name}` cannot be read: ")


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", npy_bytes("(100000000, 3, 4, 5)"))
    lie = (4_000_000_000).to_bytes(4, "little")
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = lie
    path.write_bytes(content)
    told = refusal(path)
    assert told.code == "AM441" and "claims 4000000000 bytes, which cannot be" in told.message


@given(st.binary(max_size=40), st.integers(0, 2000))
def test_a_corrupted_archive_never_crashes(tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=SAMPLES)
    content = bytearray(buffer.getvalue())
    at = min(at, len(content))
    content[at : at + len(junk)] = junk
    path = tmp_path_factory.getbasetemp() / "corrupted.npz"
    path.write_bytes(content)
    try:
        everything(Dataset.open(path, inputs=INPUTS))
    except DiagnosticError as refusal:
        assert refusal.diagnostics[0].code.startswith("AM4")


def test_an_unreadable_image_is_named_when_it_is_reached(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "in", 3)
    (folder / "2.png").write_bytes(b"no image")
    batches = Dataset.open(folder, inputs=INPUTS).batches(2)
    next(batches)
    told = refused(lambda: next(batches))
    assert (told.code, told.file) == ("AM444", str(folder / "2.png"))


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


@needs_assets
def test_the_real_digits_are_read_whole() -> None:
    path = ASSETS / "data" / "mnist_t10k.npz"
    dataset = Dataset.open(path, inputs={"images": (100, 28, 28)}, preprocess=Preprocess.parse("scale=0.00390625"))
    assert len(dataset) == 10000 and dataset.path == path
    total = sum(float(batch["images"].sum(dtype=np.float64)) for batch in dataset.batches(512))
    with np.load(path) as archive:
        assert total == archive["images"].sum(dtype=np.int64) / 256


@needs_assets
def test_real_photographs_feed_a_real_input() -> None:
    steps = Preprocess.parse("resize-short=256,center-crop=227,bgr,mean=104:117:123")
    folder = ASSETS / "data" / "imagenet"
    dataset = Dataset.open(folder, inputs={"data": (10, 3, 227, 227)}, preprocess=steps)
    assert len(dataset) == 200
    (batch,) = dataset.select(3, 7).batches(4)
    assert batch["data"].shape == (4, 3, 227, 227)
    assert -123 <= batch["data"].min() < -80 and 100 < batch["data"].max() <= 151
