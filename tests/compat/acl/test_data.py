"""INPUT_DATA_DIR: files of whole batches, for one input and several, in every element type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from amctc.compat import acl
from amctc.driver.ge.data import open_batches
from amctc.driver.ge.inputs import GeInput
from amctc.driver.ge.texts import Entry, entries
from amctc.ir.quantization import NodeQuant
from amctc.source import SourceFile
from tests.compat.acl.desk import calibrate, float_graph, images, refusal
from tests.shared_files import GOLDEN, needs_golden

BOTH = "left:2,3,8,8;right:2,3,4,4"


def listed(text: str) -> tuple[Entry, ...]:
    return entries(SourceFile("INPUT_DATA_DIR", text), ",")


def two() -> acl.Graph:
    graph = acl.Graph()
    assert graph.load_from_file("two_model.air") == acl.GRAPH_SUCCESS
    return graph


def factors(graph: acl.Graph) -> Mapping[str, NodeQuant | None]:
    return {node.name: node.quant for node in graph.net if node.quant is not None}


def factors_with(more: Mapping[str, str | None]) -> Mapping[str, NodeQuant | None]:
    graph = float_graph()
    assert calibrate(more, graph) == acl.GRAPH_SUCCESS
    return factors(graph)


class TestFiles:
    def test_the_batches_are_those_of_the_file(self, desk: Path) -> None:
        given = GeInput("data", (2, 3, 8, 8), "float32", "float32")
        dataset = open_batches([given], listed("data.bin"))
        found = [batch["data"] for batch in dataset.batches(1)]
        assert [array.shape for array in found] == [(2, 3, 8, 8)] * 3
        assert np.array_equal(np.concatenate(found), images())

    def test_several_files_are_one_after_the_other(self, desk: Path) -> None:
        whole = factors_with({})
        images()[:1].tofile("a.bin")
        images()[1:].tofile("b.raw")
        assert factors_with({"INPUT_DATA_DIR": "a.bin, b.raw"}) == whole
        assert factors_with({"INPUT_DATA_DIR": '"a.bin","b.raw"'}) == whole

    def test_a_folder_gives_its_bin_files_by_name(self, desk: Path) -> None:
        whole = factors_with({})
        Path("data").mkdir()
        for number, sample in enumerate(images()):
            sample.tofile(f"data/{number}.bin")
        Path("data/readme.txt").write_text("no data", encoding="utf-8")
        assert factors_with({"INPUT_DATA_DIR": "data"}) == whole

    def test_numbers_are_little_endian(self, desk: Path) -> None:
        whole = factors_with({})
        images().astype("<f4").tofile("data.bin")
        assert factors_with({}) == whole

    @pytest.mark.parametrize(
        ("size", "said"),
        [
            (100, "error[AM402]: `data.bin` has 100 bytes, which is not a whole number of samples"),
            (0, "error[AM402]: `data.bin` has 0 bytes"),
            (768, "error[AM450]: the data of the input `data` hold 1 sample, of which 2 are a batch: no whole batch"),
            (768 * 5, "error[AM450]: the data of the input `data` hold 5 samples, of which 2 are a batch: 2 whole"),
        ],
    )
    def test_a_file_must_hold_whole_batches(
        self, size: int, said: str, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("data.bin").write_bytes(bytes(size))
        text = refusal(capsys, {})
        assert said in text
        assert size not in (100, 0) or "one of input `data`, float32 (3, 8, 8), takes 768" in text

    def test_a_batch_of_another_size_makes_others_whole(self, desk: Path) -> None:
        images(5).tofile("data.bin")
        assert calibrate({"INPUT_SHAPE": "data:5,3,8,8"}) == acl.GRAPH_SUCCESS

    def test_what_is_not_there_is_told(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = refusal(capsys, {"INPUT_DATA_DIR": "dato.bin"})
        assert "error[AM440]: there is no file or folder `dato.bin`" in text and "did you mean `data.bin`?" in text
        Path("empty").mkdir()
        assert "error[AM440]: folder `empty` is empty" in refusal(capsys, {"INPUT_DATA_DIR": "empty"})
        Path("empty/x.npy").write_bytes(b"1")
        assert "the folder `empty` has no .bin files" in refusal(capsys, {"INPUT_DATA_DIR": "empty"})

    def test_a_number_that_is_none_is_told(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        wrong = images()
        wrong[3, 0, 0, 0] = np.nan
        wrong.tofile("data.bin")
        told = refusal(capsys, {})
        assert "error[AM404]: sample 3 of input `data` (from byte 2304 of `data.bin`) holds nan" in told


class TestTypes:
    def test_half_inputs_are_read_as_float16(self, desk: Path) -> None:
        images().astype(np.float16).astype(np.float32).tofile("data.bin")
        whole = factors_with({})
        images().astype("<f2").tofile("data.bin")
        assert factors_with({"INPUT_FP16_NODES": "data"}) == whole
        assert factors_with({"INPUT_FP16_NODES": '"data"'}) == whole

    @pytest.mark.parametrize("name", ["date", "fc"])
    def test_they_must_be_inputs(self, name: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        text = refusal(capsys, {"INPUT_FP16_NODES": name})
        assert f"error[AM884]: INPUT_FP16_NODES names `{name}`, which is no input" in text

    def test_whole_numbers_stay_what_they_are(self, desk: Path) -> None:
        numbers = np.array([[2**24 + 1, -5], [7, 2**31 - 1]], "<i4")
        numbers.tofile("numbers.bin")
        (batch,) = open_batches([GeInput("x", (2, 2), "int32", "int32")], listed("numbers.bin")).batches(1)
        assert batch["x"].dtype == np.int32 and np.array_equal(batch["x"], numbers)

    def test_bytes_are_read_as_bytes(self, desk: Path) -> None:
        Path("bytes.bin").write_bytes(bytes(range(6)))
        batches = list(open_batches([GeInput("x", (3,), "uint8", "uint8")], listed("bytes.bin")).batches(1))
        assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5]]


class TestSeveral:
    def test_each_input_has_its_own(self, desk: Path) -> None:
        images(4).tofile("l.bin")
        images(4, (3, 4, 4)).tofile("r.bin")
        graph = two()
        assert calibrate({"INPUT_DATA_DIR": "l.bin,r.bin", "INPUT_SHAPE": BOTH}, graph) == acl.GRAPH_SUCCESS
        assert graph.net.node("conv_r").quant is not None

    def test_they_are_in_the_order_of_the_shapes(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        images(4).tofile("l.bin")
        images(4, (3, 4, 4)).tofile("r.bin")
        first, second = two(), two()
        assert calibrate({"INPUT_DATA_DIR": "l.bin,r.bin", "INPUT_SHAPE": BOTH}, first) == acl.GRAPH_SUCCESS
        assert "AM455" not in capsys.readouterr().err
        other = {"INPUT_DATA_DIR": "r.bin,l.bin", "INPUT_SHAPE": "right:2,3,4,4;left:2,3,8,8"}
        assert calibrate(other, second) == acl.GRAPH_SUCCESS
        assert factors(first) == factors(second)
        shown = capsys.readouterr().err
        assert "warning[AM455]" in shown and "where it is `left`, `right`" in shown

    def test_their_batches_may_differ_in_size(self, desk: Path) -> None:
        images(4).tofile("l.bin")
        images(2, (3, 4, 4)).tofile("r.bin")
        keys = {"INPUT_DATA_DIR": "l.bin,r.bin", "INPUT_SHAPE": "left:2,3,8,8;right:1,3,4,4"}
        assert calibrate(keys, two()) == acl.GRAPH_SUCCESS

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ("l.bin", "error[AM400]: INPUT_DATA_DIR has 1 entry for the inputs `left`, `right`"),
            ("l.bin,r.bin,l.bin", "error[AM400]: INPUT_DATA_DIR has 3 entries"),
            (
                "l.bin,short.bin",
                "error[AM443]: the inputs differ in their number of batches: `left` has 2, `right` has 1",
            ),
            ("r.bin,l.bin", "error[AM450]: the data of the input `left` hold 1 sample"),
        ],
    )
    def test_other_files_are_refused(
        self, files: str, said: str, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images(4).tofile("l.bin")
        images(4, (3, 4, 4)).tofile("r.bin")
        images(2, (3, 4, 4)).tofile("short.bin")
        assert said in refusal(capsys, {"INPUT_DATA_DIR": files, "INPUT_SHAPE": BOTH}, two())


@needs_golden
@pytest.mark.parametrize("generation", ["metadef2021", "ge2026"])
def test_sizes_that_the_graph_leaves_open_are_those_of_the_data(
    generation: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = acl.Graph()
    assert graph.load_from_file(GOLDEN / f"ge/{generation}_06_unknown_shapes.air") == acl.GRAPH_SUCCESS
    images(2, (3, 5, 6)).tofile("a.bin")
    images(2, (7,)).astype("<f2").tofile("b.bin")
    keys = {"INPUT_DATA_DIR": "a.bin,b.bin", "INPUT_SHAPE": "data:1,3,5,6;data_unknown_rank:2,7"}
    text = refusal(capsys, keys, graph)
    assert "error[AM443]: the inputs differ in their number of batches: `data` has 2, `data_unknown_rank` has 1" in text
    keys["INPUT_SHAPE"] = "data:1,4,5,6;data_unknown_rank:1,7"
    assert "error[AM885]: the input `data` takes [?, 3, ?, ?], not [1, 4, 5, 6]" in refusal(capsys, keys, graph)
    keys["INPUT_SHAPE"] = "data:1,3,5,6;data_unknown_rank:1,7"
    assert calibrate(keys, graph) == acl.GRAPH_NOT_CHANGED
