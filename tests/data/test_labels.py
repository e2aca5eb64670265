from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.runtime.datasets import Dataset
from amctc.runtime.labels import Labels
from tests.shared_files import ASSETS, needs_assets

INPUTS = {"data": (1, 2)}


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    path = tmp_path / "a.npz"
    np.savez(path, data=np.zeros((5, 2)), label=np.array([4, 3, 2, 1, 0], np.uint8), logits=np.zeros((5, 3)))
    return Dataset.open(path, inputs=INPUTS)


@pytest.fixture
def photographs(tmp_path: Path) -> Dataset:
    for name in ("cat/1.png", "dog/1.png", "dog/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return Dataset.open(f"{tmp_path}/*/*.png", inputs={"data": (1, 3, 4, 4)})


def refused(spec: object, data: Dataset | int | None = None, npz_path: Path | None = None) -> list[Diagnostic]:
    with pytest.raises(DiagnosticError) as caught:
        Labels.open(str(spec), data, npz_path)
    return list(caught.value.diagnostics)


def table(folder: Path, text: str) -> str:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_labels_are_an_array_of_the_data_file(digits: Dataset, tmp_path: Path) -> None:
    labels = Labels.open("label", digits)
    assert labels.values.dtype == np.int64 and len(labels) == 5
    np.testing.assert_array_equal(labels.values, [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(Labels.open("label", 5, tmp_path / "a.npz").values, labels.values)
    np.testing.assert_array_equal(labels.select(1, 3).values, [3, 2])


def test_labels_of_a_part_are_cut_like_the_data(digits: Dataset, tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.array([4, 3, 2, 1, 0]))
    spec = table(tmp_path, "4\n3\n2\n1\n0\n")
    for name in ("label", str(tmp_path / "l.npy"), spec):
        np.testing.assert_array_equal(Labels.open(name, digits.select(2, 4)).values, [2, 1])


@pytest.mark.parametrize("array", [np.array([1.0, 2.0]), np.array([[1], [2]], np.int16), np.array([1, 2], np.uint64)])
def test_labels_of_any_number_type_are_read(tmp_path: Path, array: Any) -> None:
    np.save(tmp_path / "l.npy", array)
    np.testing.assert_array_equal(Labels.open(str(tmp_path / "l.npy"), 2).values, [1, 2])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 1.5]), "label 1.5 of sample 1 in `{}` is not a whole number of 0 or more"),
        (np.array([0, np.nan]), "label nan of sample 1 in `{}` is not a whole number of 0 or more"),
        (np.array([-1, 0]), "label -1 of sample 0 in `{}` is not a whole number of 0 or more"),
        (np.array([True, False]), "label True of sample 0 in `{}` is not a whole number of 0 or more"),
        (np.eye(2), "the labels `{}` have the shape (2, 2), not one number for each sample"),
        (np.zeros(()), "the labels `{}` have the shape (), not one number for each sample"),
    ],
)
def test_arrays_that_are_no_labels_are_refused(tmp_path: Path, array: Any, message: str) -> None:
    path = tmp_path / "l.npy"
    np.save(path, array)
    (told,) = refused(path, 2)
    assert (told.code, told.message) == ("AM462", message.format(path))


def test_labels_that_are_nowhere_are_told(digits: Dataset, tmp_path: Path) -> None:
    (told,) = refused("lable", digits)
    assert (told.code, told.message) == ("AM460", "there is no array `lable`; the data hold `data`, `label`, `logits`")
    assert told.help == "did you mean `label`?"
    (told,) = refused("label", Dataset.open(np.zeros((5, 2)), inputs=INPUTS))
    assert told.code == "AM460"
    assert told.message == (
        "the labels `label` are neither a .npy nor a .csv file, and the data are not an .npz that could hold them"
    )
    (told,) = refused(tmp_path / "x.npy")
    assert (told.code, told.message) == ("AM460", f"there is no file `{tmp_path / 'x.npy'}`")
    (told,) = refused(tmp_path / "x.csv")
    assert (told.code, told.message) == ("AM100", f"there is no file `{tmp_path / 'x.csv'}`")


def test_another_number_of_labels_than_samples_is_refused(digits: Dataset, tmp_path: Path) -> None:
    spec = table(tmp_path, "1\n2\n")
    for data in (digits, 5):
        (told,) = refused(spec, data)
        assert (told.code, told.message) == ("AM461", f"the labels `{spec}` are 2, the data set has 5 samples")
    assert refused("label", 4, tmp_path / "a.npz")[0].code == "AM461"


@pytest.mark.parametrize(
    "text",
    [
        "3\n1\n2\n",
        "label\n3\n1\n2",
        "class\n3\n\n1\n2\n\n",
        "\ufefflabel\r\n3\r\n1\r\n2\r\n",
        'name,Label\n"a, b",3\nc, 1\n"d\ne",2\n',
    ],
)
def test_a_table_without_file_names_is_in_sample_order(tmp_path: Path, text: str) -> None:
    np.testing.assert_array_equal(Labels.open(table(tmp_path, text), 3).values, [3, 1, 2])


@pytest.mark.parametrize(
    "text",
    [
        "file,label\ndog/2.png,7\ncat/1.png,5\ndog/1.png,6\nbird/1.png,9\n",
        "label,name,file\n7,x,2.png\n5,x,cat/1.png\n6,x,dog/1.png\n6,x,dog/1.png\n",
        "file,label\n7.png,1\ndog\\1.png,6\n./cat/1.png,5\n2.png,7\n",
    ],
)
def test_a_table_with_file_names_is_matched_to_the_images(photographs: Dataset, tmp_path: Path, text: str) -> None:
    spec = table(tmp_path, text)
    np.testing.assert_array_equal(Labels.open(spec, photographs).values, [5, 6, 7])
    np.testing.assert_array_equal(Labels.open(spec, photographs.select(1)).values, [6, 7])


def test_a_full_path_matches_too(photographs: Dataset, tmp_path: Path) -> None:
    assert photographs.names is not None
    rows = "".join(f"{name},{number}\n" for number, name in enumerate(photographs.names))
    np.testing.assert_array_equal(Labels.open(table(tmp_path, "file,label\n" + rows), photographs).values, [0, 1, 2])


def test_images_without_a_row_are_named(photographs: Dataset, tmp_path: Path) -> None:
    spec = table(tmp_path, "file,label\ndog/1.png,1\n")
    (told,) = refused(spec, photographs)
    assert (told.code, told.file) == ("AM463", spec)
    assert told.message == f"2 images have no row: `{tmp_path}/cat/1.png`, `{tmp_path}/dog/2.png`"
    (told,) = refused(spec, photographs.select(2))
    assert told.message == f"1 image has no row: `{tmp_path}/dog/2.png`"


def test_a_row_for_two_images_is_refused(photographs: Dataset, tmp_path: Path) -> None:
    (told,) = refused(table(tmp_path, "file,label\n1.png,1\n2.png,2\n"), photographs)
    assert told.code == "AM463" and told.span is not None and told.span.line == 2
    assert told.message == f"the row of `1.png` is meant for both `{tmp_path}/cat/1.png` and `{tmp_path}/dog/1.png`"


def test_two_rows_with_different_labels_are_refused(photographs: Dataset, tmp_path: Path) -> None:
    (told,) = refused(table(tmp_path, "file,label\n2.png,1\n1.png,3\n2.png,2\n"), photographs)
    assert (told.code, told.message) == ("AM463", "file `2.png` has two rows with different labels")
    assert told.span is not None and (told.span.line, told.related[0].span.line) == (4, 2)


@pytest.mark.parametrize(
    ("text", "line", "code", "message"),
    [
        ("a,3\nb,4\n", 1, "AM464",
            "a .csv of several columns needs a first row with `label`, and `file` to match images"),
        ("file,label\na,3\n", 1, "AM464", "the labels are by file name, but the data are not image files"),
        ("name,label\na,3\nb\n", 3, "AM464", "this row has 1 column, the first has 2"),
        ("3\n4,5\n", 2, "AM464", "this row has 2 columns, the first has 1"),
        ("3\ncat\n", 2, "AM462", "label `cat` is not a whole number of 0 or more"),
        ("3\n1.5\n", 2, "AM462", "label `1.5` is not a whole number of 0 or more"),
        ("3\n-1\n", 2, "AM462", "label `-1` is not a whole number of 0 or more"),
        ("label\n99999999999999999999\n", 2, "AM462",
            "label `99999999999999999999` is not a whole number of 0 or more"),
        ("name,label\na,\n", 2, "AM462", "label `` is not a whole number of 0 or more"),
        ('name,label\n"a"b,1\n', 2, "AM464", "this is not comma-separated text: ',' expected after '\"'"),
    ],
)  # fmt: skip
def test_a_table_that_is_wrong_is_told_with_its_line(
    tmp_path: Path, text: str, line: int, code: str, message: str
) -> None:
    (told,) = refused(table(tmp_path, text), 2)
    assert (told.code, told.message) == (code, message)
    assert told.span is not None and told.span.line == line


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    spec = table(tmp_path, "\n\n")
    (told,) = refused(spec)
    assert (told.code, told.message) == ("AM464", f"`{spec}` holds no labels")


def test_many_mistakes_are_told_at_once_but_not_all(tmp_path: Path) -> None:
    assert len(refused(table(tmp_path, "label\n" + "x\n" * 500))) == 20


@given(st.text('file,label\n\r"0123x\x00\u2028', max_size=60))
def test_any_table_is_read_or_refused_with_a_diagnostic(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        Labels.open(str(path))
    except DiagnosticError as refusal:
        assert refusal.diagnostics[0].code == "AM464" or refusal.diagnostics[0].code == "AM462"


@needs_assets
def test_the_real_labels_match_the_real_photographs() -> None:
    data = ASSETS / "data"
    dataset = Dataset.open(data / "imagenet", inputs={"data": (1, 3, 227, 227)})
    labels = Labels.open(str(data / "imagenet_labels.csv"), dataset)
    synsets = [line.split()[0].strip("'") for line in (data / "synset.txt").read_text().splitlines()]
    assert dataset.names is not None and len(labels) == 200
    for name, label in zip(dataset.names, labels.values, strict=True):
        assert Path(name).name.startswith(synsets[label])
