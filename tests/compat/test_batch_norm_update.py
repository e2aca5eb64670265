"""BatchNorm layers of the stand-in: their blobs move with every forward pass, as in Caffe, and go into a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import caffe
from amctc.compat.amct_caffe.log import log
from amctc.frontends import load_model
from amctc.frontends.caffe.batch_norm_file import read_statistics
from amctc.frontends.caffe.weights import read_weights
from amctc.runtime.batch_statistics import update_statistics
from amctc.targets.caffe.files import prototxt
from tests.compat.test_caffe_golden import net_of, write
from tests.nets import conv, data, layer, write_net
from tests.runtime.batch_norm_reference import (
    TOLERANCE,
    TRAINING,
    blobs_of,
    difference,
    digits,
    mnist_bn,
    moving_cases,
    step,
    trained,
)
from tests.runtime.caffe_cases import CaffeCase
from tests.shared_files import needs_golden

FILE = Path("dump/bn/batchnorm.caffemodel")
UPDATE = 'bn_update_param { iterations: 2 dump_dir: "dump/bn" }'
BATCH = "batch_norm_param { use_global_stats: false }"
HALF = "batch_norm_param { use_global_stats: false moving_average_fraction: 0.5 }"
CAFFES = 0.9990000128746033
"""Caffe's default of `moving_average_fraction`, a float32."""


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    log.close()
    yield tmp_path
    log.close()


def chain(first: str = BATCH, second: str = HALF) -> str:
    """A BatchNorm in place on a convolution, another one behind a second convolution, and a sum of both branches."""
    return (
        data("4 3 6 6")
        + conv("a", "data", 4)
        + layer("bn", "BatchNorm", "a", "a", first)
        + layer("relu", "ReLU", "a", "a")
        + conv("b", "a", 4, 1)
        + layer("bn2", "BatchNorm", "b", "c", second)
        + layer("sum", "Eltwise", "a c", "sum")
    )


def net(folder: Path, text: str, phase: int = caffe.TEST) -> caffe.Net:
    model, weights = write_net(folder, text)
    return caffe.Net(str(model), str(weights), phase)


def images(count: int, shape: tuple[int, ...] = (4, 3, 6, 6)) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    return [rng.normal(1, 2, shape).astype(np.float32) for _ in range(count)]


def blobs(of: caffe.Net, name: str) -> list[NDArray[np.float32]]:
    return [blob.data.copy() for blob in of.params[name]]


def logged(desk: Path) -> str:
    path = desk / "amct_log/amct_caffe.log"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


# -- the real Caffe --------------------------------------------------------------------------------


@needs_golden
@pytest.mark.parametrize("case", moving_cases(), ids=str)
def test_the_blobs_move_as_caffes_do(case: CaffeCase) -> None:
    net = net_of(case)
    for number in range(case.steps):
        recorded = dict(case.recorded(number))
        write(net, {name: array for name, array in recorded.items() if name.startswith("in/")})
        net.forward()
        for name, expected in blobs_of(recorded, "param_after").items():
            assert max(map(difference, blobs(net, name), expected)) <= TOLERANCE


@needs_golden
def test_the_blobs_of_a_net_in_phase_train_move_as_caffes_solver_moves_them() -> None:
    recorded = trained("sgd_iter_size2")
    net = caffe.Net(str(TRAINING / "small_bn.prototxt"), str(TRAINING / "small_bn.init.caffemodel"), caffe.TRAIN)
    with np.load(TRAINING / "batches.npz") as arrays:
        net.set_input_arrays(arrays["data"], arrays["label"])
    for iteration in (1, 2):
        net.forward()
        net.forward()
        for name, expected in blobs_of(recorded, f"after{iteration}").items():
            assert max(map(difference, blobs(net, name), expected)) <= TOLERANCE
        for name, own in net.params.items():
            for index, blob in enumerate(own):
                blob.data[...] = recorded[f"after{iteration}/{name}/{index}"]


@needs_golden
def test_the_blobs_of_a_trained_net_move_as_the_definition_says() -> None:
    model, weights = mnist_bn()
    text = model.read_text(encoding="utf-8").replace("moving_average", "use_global_stats: false moving_average")
    Path("net.prototxt").write_text(text.replace("dim: 1 dim: 1 dim", "dim: 16 dim: 1 dim"), encoding="utf-8")
    net = caffe.Net("net.prototxt", str(weights), caffe.TEST)
    names = ["conv1/bn", "conv2_dw/bn", "conv2_pw/bn", "conv3/bn"]
    inputs = ["conv1", "conv2_dw", "conv2_pw", "conv3"]
    expected = {name: blobs(net, name) for name in names}
    plain = caffe.Net("net.prototxt", str(weights), caffe.TEST)
    for batch in digits(64).reshape(4, 16, 1, 28, 28):
        net.forward(data=batch)
        plain.blobs["data"].data[...] = batch
        begin = "conv1"
        for name, blob in zip(names, inputs, strict=True):
            plain.forward(start=begin, end=blob)  # up to what the BatchNorm, which works in place, reads
            x = plain.blobs[blob].data.copy()
            expected[name] = [array.astype(np.float32) for array in step(expected[name], x, 0.95)]
            begin = name
        for name in names:
            assert max(map(difference, blobs(net, name), expected[name])) <= TOLERANCE


# -- what else a script can do ---------------------------------------------------------------------


def test_a_layer_that_says_no_fraction_has_caffes(tmp_path: Path) -> None:
    own = net(tmp_path, data("4 3 6 6") + layer("bn", "BatchNorm", "data", "out", BATCH))
    expected: list[NDArray[np.float32]] = blobs(own, "bn")
    for batch in images(3):
        own.forward(data=batch)
        expected = [array.astype(np.float32) for array in step(expected, batch, CAFFES)]
    assert max(map(difference, blobs(own, "bn"), expected)) <= TOLERANCE


def test_an_array_in_hands_shows_what_has_moved_and_what_is_written_counts(tmp_path: Path) -> None:
    own = net(tmp_path, chain())
    held = own.params["bn2"][2].data
    own.forward(data=images(1)[0])
    assert held.tolist() == [2.0]
    held[0] = 10
    own.forward()
    assert held.tolist() == [6.0]
    assert own.params["bn2"][2].data is held


def test_looking_at_a_blob_moves_nothing(tmp_path: Path) -> None:
    own = net(tmp_path, chain())
    own.forward(data=images(1)[0])
    before = blobs(own, "bn")
    assert own.blobs["b"].data.any()
    assert all((a == b).all() for a, b in zip(before, blobs(own, "bn"), strict=True))


def test_only_the_layers_that_run_are_renewed(tmp_path: Path) -> None:
    own = net(tmp_path, chain())
    own.forward(data=images(1)[0])
    before = {name: blobs(own, name) for name in ("bn", "bn2")}
    own.forward(start="b")
    assert all((a == b).all() for a, b in zip(before["bn"], blobs(own, "bn"), strict=True))
    expected = step(before["bn2"], own.blobs["b"].data, 0.5)
    assert max(map(difference, blobs(own, "bn2"), expected)) <= TOLERANCE
    own.forward(end="bn")
    assert not np.array_equal(before["bn"][0], blobs(own, "bn")[0])
    assert max(map(difference, blobs(own, "bn2"), expected)) <= TOLERANCE


def test_stored_statistics_stay(tmp_path: Path) -> None:
    stored = "batch_norm_param { use_global_stats: true }"
    own = net(tmp_path, chain(stored, ""))
    before = blobs(own, "bn") + blobs(own, "bn2")
    own.forward(data=images(1)[0])
    assert all((a == b).all() for a, b in zip(before, blobs(own, "bn") + blobs(own, "bn2"), strict=True))


def test_in_phase_train_a_layer_moves_that_is_not_told_to(tmp_path: Path) -> None:
    own = net(tmp_path, chain("", ""), caffe.TRAIN)
    before = own.params["bn"][2].data.item()
    own.forward(data=images(1)[0])
    assert own.params["bn"][2].data.item() == pytest.approx(before * CAFFES + 1, rel=1e-6)


def test_shared_blobs_move_twice_and_a_layer_that_reads_them_sees_it(tmp_path: Path) -> None:
    names = " ".join(f'param {{ name: "{name}" }}' for name in ("mean", "variance", "factor"))
    text = data("4 3") + "".join(
        layer(name, "BatchNorm", "data", name, f"{how} {names}")
        for name, how in (("one", HALF), ("two", HALF), ("stored", ""))
    )
    own = net(tmp_path, text)
    expected: list[NDArray[np.float32]] = blobs(own, "one")
    (batch,) = images(1, (4, 3))
    own.forward(data=batch)
    for _ in range(2):
        expected = [array.astype(np.float32) for array in step(expected, batch, 0.5)]
    for name in ("one", "two", "stored"):
        assert max(map(difference, blobs(own, name), expected)) <= TOLERANCE
    mean, variance = expected[0] / expected[2], expected[1] / expected[2]
    own.forward(data=batch, start="stored", end="stored")
    assert difference(own.blobs["stored"].data, (batch - mean) / np.sqrt(variance + 1e-5)) <= 1e-5


def test_saved_weights_have_moved(tmp_path: Path) -> None:
    own = net(tmp_path, chain())
    own.forward(data=images(1)[0])
    own.save(str(tmp_path / "saved.caffemodel"))
    saved = read_weights(tmp_path / "saved.caffemodel")["bn2"]
    assert all((a == b).all() for a, b in zip(saved, blobs(own, "bn2"), strict=True))


# -- the file --------------------------------------------------------------------------------------


def test_the_file_is_written_after_the_last_pass_and_not_again(tmp_path: Path, desk: Path) -> None:
    own = net(tmp_path, chain(BATCH + UPDATE, HALF + UPDATE))
    first, second, third = images(3)
    own.forward(data=first)
    assert not FILE.exists()
    own.forward(end="b")  # no pass of the whole net
    assert not FILE.exists()
    own.forward(data=second)
    written = FILE.read_bytes()
    found = read_weights(FILE)
    assert list(found) == ["bn", "bn2"]
    for name, arrays in found.items():
        assert all((a == b).all() for a, b in zip(arrays, blobs(own, name), strict=True))
    own.forward(data=third)
    assert FILE.read_bytes() == written
    assert not np.array_equal(found["bn"][0], own.params["bn"][0].data)
    text = logged(desk)
    assert "batch 1 of 2 is done" in text
    assert text.count(f"the statistics of 2 layers are in the file {FILE}") == 1
    assert "3 of 2" not in text


def test_the_file_has_the_bits_that_a_run_of_the_graph_gives(tmp_path: Path) -> None:
    text = chain(BATCH + UPDATE, HALF + UPDATE)
    own = net(tmp_path, text)
    for batch in images(2):
        own.forward(data=batch, blobs=["a", "b", "c"])
    graph = load_model(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    expected = update_statistics(graph, ({"data": batch} for batch in images(2)), CAFFES)
    read_statistics(FILE, graph)
    for node, arrays in expected.items():
        assert all((node.weights[role] == array).all() for role, array in arrays.items())


def test_the_parameter_comes_back_out_of_the_prototxt(tmp_path: Path) -> None:
    model, weights = write_net(tmp_path, chain(BATCH + UPDATE, HALF + UPDATE))
    graph = load_model(model, weights)
    again = tmp_path / "again.prototxt"
    again.write_text(prototxt(graph), encoding="utf-8")
    back = load_model(again, weights)
    assert [node.attrs for node in back.nodes] == [node.attrs for node in graph.nodes]
    assert back.node("bn").attrs["bn_update_param"] == {"iterations": 2, "dump_dir": "dump/bn"}


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (BATCH + UPDATE, HALF + UPDATE.replace("2", "3"), r"`bn2` .*has another `bn_update_param` than `bn`"),
        (BATCH + UPDATE, HALF + UPDATE.replace("dump/bn", "dump"), r"`bn2` .*has another `bn_update_param` than `bn`"),
        (BATCH, HALF + "bn_update_param { dump_dir: 'a' }", "`iterations` of its `bn_update_param` must be 1 or more"),
        (BATCH, HALF + "bn_update_param { iterations: 1 }", "`dump_dir` of its `bn_update_param` must name a folder"),
        (BATCH, HALF + "bn_update_param { iterations: 1 dump_dir: 'a\\000b' }", "must name a folder"),
        (BATCH, UPDATE, "and never renews its statistics"),
    ],
)
def test_layers_that_do_not_fit_together_are_refused(tmp_path: Path, first: str, second: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=f"AM629.*{words}"):
        net(tmp_path, chain(first, second))


def test_a_layer_without_statistics_has_none_to_renew(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"AM629.*layer `relu2` .*no statistics to be renewed"):
        net(tmp_path, chain() + layer("relu2", "ReLU", "sum", "out", UPDATE))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("in the way", encoding="utf-8")
    own = net(tmp_path, chain(BATCH + UPDATE, HALF + UPDATE))
    own.forward(data=images(1)[0])
    with pytest.raises(RuntimeError, match="AM700"):
        own.forward()
