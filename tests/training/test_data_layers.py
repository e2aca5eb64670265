"""What data layers put into a training: in which order, what of each image, and the same for the same batch number."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from amctc.diagnostics import DiagnosticError
from amctc.frontends.caffe import NetState, load_caffe
from amctc.ir import Graph
from amctc.runtime.lmdb_files import LmdbRecords
from amctc.training.data_layers import BatchSource, feeds_of, open_sources
from amctc.training.memory_data import read_arrays
from amctc.training.prefetch import Prefetched
from amctc.training.sample_order import Draws, SampleOrder
from tests.training.small_nets import IMAGES, LABELS, database


def graph_of(folder: Path, layer: str, phase: str = "TRAIN", tops: str = 'top: "data" top: "label"') -> Graph:
    path = folder / "net.prototxt"
    path.write_text(
        f'layer {{ name: "data" {tops} {layer} }}\nlayer {{ name: "end" type: "Silence" bottom: "data" }}\n'
    )
    return load_caffe(path, state=NetState("TRAIN" if phase == "TRAIN" else "TEST"), keep_training=True)


def source_of(folder: Path, layer: str, phase: str = "TRAIN", seed: int | None = 3, **options: Any) -> BatchSource:
    return open_sources(graph_of(folder, layer, phase), seed=seed, **options)["data"]


def lmdb_layer(path: Path, more: str = "", transform: str = "") -> str:
    return (
        f'type: "Data" data_param {{ source: "{path}" backend: LMDB batch_size: 3 {more} }} '
        f"transform_param {{ {transform} }}"
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return database(tmp_path_factory.mktemp("data") / "db")


def test_batches_of_a_database_go_round_and_round_in_any_order(records: Path, tmp_path: Path) -> None:
    source = source_of(tmp_path, lmdb_layer(records))
    assert source.shapes == ((3, 2, 6, 6), (3,))
    for number in (0, 1, 2, 3, 7, 1, 0, 100):
        images, labels = source.batch(number)
        chosen = [place % 7 for place in range(3 * number, 3 * number + 3)]
        assert np.array_equal(images, IMAGES[chosen]) and labels.tolist() == LABELS[chosen].tolist()


def test_a_database_is_not_read_from_its_beginning_for_the_next_batch(records: Path) -> None:
    taken = LmdbRecords(records)
    taken.take(3)
    place = taken._last  # pyright: ignore[reportPrivateUsage]
    taken.go_to(3)
    assert taken._last is place and taken.take(1)[0].name == "0003"  # pyright: ignore[reportPrivateUsage]
    taken.go_to(7 * 10**15 + 5)
    assert [record.name for record in taken.take(3)] == ["0005", "0006", "0000"]


def test_several_threads_may_read_one_database(records: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: [record.name for record in LmdbRecords(records).take(20)], range(100)))
    assert taken == [[f"{place % 7:04d}" for place in range(20)]] * 100


def test_crops_and_mirrorings_are_those_of_the_batch_and_lie_in_the_image(records: Path, tmp_path: Path) -> None:
    layer = lmdb_layer(records, transform="crop_size: 4 mirror: true scale: 0.5 mean_value: 1 mean_value: 2")
    source, again = source_of(tmp_path, layer), source_of(tmp_path, layer)
    mean = np.array([1, 2], np.float32).reshape(2, 1, 1)
    found = set()
    for number in range(40):
        batch = source.batch(number)[0]
        assert number % 7 or np.array_equal(again.batch(number)[0], batch)
        for index, made in enumerate(batch):
            image = (IMAGES[(3 * number + index) % 7] - mean) * np.float32(0.5)
            places = {
                (top, left, mirrored): image[:, top : top + 4, left : left + 4][:, :, :: -1 if mirrored else 1]
                for top in range(3)
                for left in range(3)
                for mirrored in (False, True)
            }
            (place,) = (key for key, part in places.items() if np.array_equal(part, made))
            found.add(place)
    assert len(found) == 18, "all places, mirrored and not"
    assert not np.array_equal(source_of(tmp_path, layer, seed=4).batch(0)[0], source.batch(0)[0])


@pytest.mark.parametrize(("phase", "seed"), [("TEST", 3), ("TRAIN", None)])
def test_in_tests_and_without_a_seed_the_middle_is_taken(
    phase: str, seed: int | None, records: Path, tmp_path: Path
) -> None:
    source = source_of(tmp_path, lmdb_layer(records, transform="crop_size: 4 mirror: true"), phase, seed)
    for number in range(5):
        chosen = [place % 7 for place in range(3 * number, 3 * number + 3)]
        assert np.array_equal(source.batch(number)[0], IMAGES[chosen][:, :, 1:5, 1:5])


def test_the_mean_of_a_file_is_that_of_the_part_that_is_taken(records: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mean.npy", IMAGES.mean(0).astype(np.float32))
    transform = f'crop_size: 5 mean_file: "{tmp_path}/mean.npy"'
    source, plain = (source_of(tmp_path, lmdb_layer(records, transform=text)) for text in (transform, "crop_size: 5"))
    difference = plain.batch(0)[0][0] - source.batch(0)[0][0]
    mean = IMAGES.mean(0).astype(np.float32)
    parts = [mean[:, top : top + 5, left : left + 5] for top in range(2) for left in range(2)]
    assert any(np.allclose(difference, part, atol=1e-4) for part in parts)


def test_some_records_are_passed_over_at_first(records: Path, tmp_path: Path) -> None:
    skips = {
        source_of(tmp_path, lmdb_layer(records, "rand_skip: 5"), seed=seed).batch(0)[1].tobytes() for seed in range(9)
    }
    assert len(skips) > 1
    assert np.array_equal(
        source_of(tmp_path, lmdb_layer(records, "rand_skip: 5"), seed=None).batch(0)[0], IMAGES[:3].astype(np.float32)
    )


def image_list(folder: Path) -> str:
    for index in range(5):
        Image.fromarray(np.full((4, 6, 3), (index, 10 * index, 100), np.uint8)).save(folder / f"{index}.png")
    (folder / "list.txt").write_text("".join(f"{index}.png {index}\n" for index in range(5)))
    files = f'source: "{folder}/list.txt" root_folder: "{folder}/"'
    return f'type: "ImageData" image_data_param {{ {files} batch_size: 2 %s }}'


def test_images_of_a_list_come_in_order_bgr_and_resized(tmp_path: Path) -> None:
    source = source_of(tmp_path, image_list(tmp_path) % "new_height: 2 new_width: 3")
    images, labels = source.batch(2)
    assert images.shape == (2, 3, 2, 3) and labels.tolist() == [4, 0]
    assert images[0, :, 0, 0].tolist() == [100, 40, 4]
    grey = source_of(tmp_path, image_list(tmp_path) % "is_color: false").batch(0)[0]
    assert grey.shape == (2, 1, 4, 6)


def test_a_shuffled_list_has_an_order_of_its_own_each_round(tmp_path: Path) -> None:
    source = source_of(tmp_path, image_list(tmp_path) % "shuffle: true")
    labels = [float(label) for number in range(10) for label in source.batch(number)[1]]
    rounds = [tuple(labels[at : at + 5]) for at in range(0, 20, 5)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in rounds) and len(set(rounds)) > 1
    again = source_of(tmp_path, image_list(tmp_path) % "shuffle: true")
    assert again.batch(7)[1].tolist() == labels[14:16]


def test_files_are_found_beside_the_solver(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    layer = image_list(tmp_path / "data").replace(f"{tmp_path}/data/", "") % ""
    source = source_of(tmp_path, layer, locate=lambda name: tmp_path / "data" / name)
    assert source.batch(0)[1].tolist() == [0, 1]


MEMORY = 'type: "MemoryData" memory_data_param { batch_size: 3 channels: 1 height: 2 width: 2 }'
SAMPLES = np.arange(20, dtype=np.float64).reshape(5, 2, 2)


def test_arrays_in_memory_go_round_and_round_whatever_their_number(tmp_path: Path) -> None:
    arrays = {"data": {"data": SAMPLES, "label": np.arange(5), "more": np.zeros(9)}}
    source = source_of(tmp_path, MEMORY, arrays=arrays)
    images, labels = source.batch(1)
    assert images.dtype == np.float32 and images.shape == (3, 1, 2, 2) and labels.tolist() == [3, 4, 0]
    assert np.array_equal(images[:, 0], SAMPLES[[3, 4, 0]])
    assert source.batch(2**64)[1].tolist() == [3 * 2**64 % 5, (3 * 2**64 + 1) % 5, (3 * 2**64 + 2) % 5]


def test_an_input_without_a_shape_takes_that_of_its_array(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, 'type: "Input"', tops='top: "data"')
    source = open_sources(graph, seed=0, arrays={"data": {"data": SAMPLES}})["data"]
    assert source.shapes == ((1, 2, 2),) and np.array_equal(source.batch(6)[0][0], SAMPLES[1])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (None, "has no data yet"),
        ({"daat": SAMPLES}, "needs an array for its top `data`"),
        ({"data": SAMPLES, "label": np.arange(4)}, "different lengths"),
        ({"data": SAMPLES[:, 0], "label": np.arange(5)}, "takes samples of the shape"),
        ({"data": SAMPLES[:0], "label": np.arange(0)}, "no samples"),
        ({"data": np.array(["a"]), "label": np.arange(1)}, "no samples of numbers"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    arrays: Mapping[str, NDArray[Any]] | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(DiagnosticError, match=f"AM666.*{words}"):
        source_of(tmp_path, MEMORY, arrays={"data": arrays} if arrays else None).batch(0)


def test_a_file_of_arrays_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=SAMPLES)
    assert np.array_equal(read_arrays(tmp_path / "a.npz")["x"], SAMPLES)
    with pytest.raises(DiagnosticError, match="AM440"):
        read_arrays(tmp_path / "b.npz")


@pytest.mark.parametrize("type", ["WindowData", "AnnotatedData"])
def test_data_that_are_not_read_are_refused(type: str, tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM662"):
        source_of(tmp_path, f'type: "{type}"')


def test_feeds_are_by_blob(records: Path, tmp_path: Path) -> None:
    graph = graph_of(tmp_path, lmdb_layer(records))
    feeds = feeds_of(graph, open_sources(graph, seed=0), 1)
    assert {name: array.shape for name, array in feeds.items()} == {"data": (3, 2, 6, 6), "label": (3,)}


class Counting:
    """A source that remembers what it was asked."""

    shapes = ((1,),)

    def __init__(self) -> None:
        self.asked: list[int] = []

    def batch(self, number: int) -> tuple[NDArray[np.float32], ...]:
        self.asked.append(number)
        if number == 3:
            raise ValueError("no third batch")
        return (np.array([number], np.float32),)


def test_the_next_batch_is_made_ahead_and_its_mistake_told_when_it_is_asked_for() -> None:
    counting = Counting()
    source = Prefetched(counting)
    assert [source.batch(number)[0][0] for number in (0, 1, 7, 2)] == [0, 1, 7, 2]
    with pytest.raises(ValueError, match="no third"):
        source.batch(3)
    assert counting.asked == [0, 1, 2, 7, 8, 2, 3]


def test_an_order_is_known_for_any_place() -> None:
    order = SampleOrder(5, 2, Draws(1, "data"))
    whole = [order.at(place) for place in range(13)]
    assert sorted(whole[3:8]) == [0, 1, 2, 3, 4]
    assert [SampleOrder(5, 2, Draws(1, "data")).at(place) for place in (12, 0, 4)] == [whole[12], whole[0], whole[4]]


# -- HDF5 ------------------------------------------------------------------------------------------


class FakeDataset:
    """As much of h5py's dataset as is used: rows by a rising list of places."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        assert np.all(np.diff(rows) > 0)
        return self._array[rows]


class FakeFile(dict[str, FakeDataset]):
    """A file of such datasets, which stand in an .npz."""

    def __init__(self, path: str, mode: str) -> None:
        assert mode == "r"
        with np.load(path) as arrays:
            super().__init__({name: FakeDataset(arrays[name]) for name in arrays.files})

    def __enter__(self) -> FakeFile:
        return self

    def __exit__(self, *error: object) -> None:
        return None


@pytest.fixture
def h5py(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stand-in for h5py, which is not among the packages that tests install."""
    module = ModuleType("h5py")
    module.File = FakeFile  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "h5py", module)
    yield


def hdf5_list(folder: Path, *files: Mapping[str, NDArray[Any]]) -> str:
    names = []
    for index, arrays in enumerate(files):
        with (folder / f"{index}.h5").open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        names.append(str(folder / f"{index}.h5"))
    (folder / "list.txt").write_text("\n".join(names))
    return f'type: "HDF5Data" hdf5_data_param {{ source: "{folder}/list.txt" batch_size: 4 %s }}'


ROWS = {"data": np.arange(10.0).reshape(5, 2), "label": np.arange(5)}
MORE = {"data": 100 + np.arange(4.0).reshape(2, 2), "label": np.array([8, 9], np.int64)}


@pytest.mark.usefixtures("h5py")
def test_rows_of_hdf5_files_come_file_after_file(tmp_path: Path) -> None:
    source = source_of(tmp_path, hdf5_list(tmp_path, ROWS, MORE) % "")
    assert source.shapes == ((4, 2), (4,))
    assert [source.batch(number)[1].tolist() for number in range(3)] == [[0, 1, 2, 3], [4, 8, 9, 0], [1, 2, 3, 4]]
    assert source.batch(1)[0].tolist() == [[8, 9], [100, 101], [102, 103], [0, 1]]


@pytest.mark.usefixtures("h5py")
def test_shuffled_rows_of_hdf5_files_come_each_once_a_round(tmp_path: Path) -> None:
    source = source_of(tmp_path, hdf5_list(tmp_path, ROWS, MORE) % "shuffle: true")
    labels = [label for number in range(7) for label in source.batch(number)[1].tolist()]
    rounds = [labels[at : at + 7] for at in range(0, 28, 7)]
    assert all(sorted(each) == [0, 1, 2, 3, 4, 8, 9] for each in rounds) and rounds[0] != rounds[1]


@pytest.mark.usefixtures("h5py")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([], "names 0 files"),
        ([{"data": ROWS["data"]}], "has no array of numbers `label`"),
        ([{"data": ROWS["data"], "label": np.arange(4)}], "different lengths"),
        ([ROWS, {"data": np.zeros((2, 3)), "label": np.arange(2)}], "rows of the shapes"),
        ([{"data": np.zeros((0, 2)), "label": np.arange(0)}], "different lengths"),
    ],
)
def test_hdf5_files_that_do_not_fit_are_refused(
    files: list[Mapping[str, NDArray[Any]]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DiagnosticError, match=f"AM930.*{words}"):
        source_of(tmp_path, hdf5_list(tmp_path, *files) % "")


@pytest.mark.usefixtures("h5py")
def test_hdf5_data_are_not_transformed(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"AM930.*transforms no HDF5"):
        source_of(tmp_path, hdf5_list(tmp_path, ROWS) % "" + " transform_param { scale: 2 }")
    (tmp_path / "list.txt").write_text(str(tmp_path / "none.h5"))
    with pytest.raises(DiagnosticError, match=r"AM930.*cannot be read"):
        source_of(tmp_path, f'type: "HDF5Data" hdf5_data_param {{ source: "{tmp_path}/list.txt" batch_size: 4 }}')


def test_without_h5py_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DiagnosticError, match=r"AM931[\s\S]*pip install 'amctc\[hdf5\]'"):
        source_of(tmp_path, hdf5_list(tmp_path, ROWS) % "")


def test_an_empty_database_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "empty"), map_size=1 << 20):
        pass
    with pytest.raises(DiagnosticError, match="AM663"):
        source_of(tmp_path, lmdb_layer(tmp_path / "empty"))
