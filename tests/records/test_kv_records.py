"""`kv_cache_value` of a record: written, read back, merged with what a layer has besides, and refused where wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amctc.diagnostics import DiagnosticError
from amctc.records.check_record import validate
from amctc.records.kv_cache import KvCacheRecord
from amctc.records.read_record import merge_into, parse_record, read_record
from amctc.records.scale_record import InputRecord, LayerRecord, ScaleRecord, record_text
from amctc.source import SourceFile
from tests.kv_cache_nets import CASES, RECORDED
from tests.policy.texts import small_graph
from tests.shared_files import needs_golden

TWO = KvCacheRecord((0.5, 0.25), (0, -128))


def parsed(text: str) -> ScaleRecord:
    return parse_record(SourceFile("record.txt", text))


def test_an_entry_has_the_form_that_amct_gives_it() -> None:
    text = record_text([LayerRecord("k_proj", kv_cache=TWO)])
    assert text == (
        'record {\n  key: "k_proj"\n  kv_cache_value {\n    scale: 0.5\n    scale: 0.25\n'
        "    offset: 0\n    offset: -128\n  }\n}\n"
    )
    assert parsed(text).layers == (LayerRecord("k_proj", kv_cache=TWO),)


@needs_golden
@pytest.mark.parametrize("case", CASES)
def test_recorded_files_are_read_and_written_as_they_are(case: str) -> None:
    path = RECORDED / case / "record.txt"
    assert record_text(read_record(path).layers) == path.read_text()


def test_the_grid_quantizes_along_the_last_axis() -> None:
    x = np.array([[1.0, 1.0], [-0.5, 31.75]], np.float32)
    q = TWO.params.quantize(x, axis=-1)
    assert q.tolist() == [[2, -124], [-1, -1]]
    np.testing.assert_array_equal(TWO.params.dequantize(q, axis=-1), x)
    one = KvCacheRecord((0.5,), (3,)).params
    assert one.scale.shape == () and one.quantize(x).tolist() == [[5, 5], [2, 67]]


def test_factors_of_the_output_and_of_the_layer_stand_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    layer = LayerRecord("fc", (InputRecord(0, 0.5, 3),)).with_weights([0.25], 8)
    merge_into(path, [layer])
    merge_into(path, [LayerRecord("fc", kv_cache=TWO)])
    (found,) = read_record(path).layers
    assert (found.kv_cache, found.inputs, found.scale_w) == (TWO, layer.inputs, layer.scale_w)
    assert found.is_quantized
    one = KvCacheRecord((1.0,), (0,))
    (again,) = merge_into(path, [LayerRecord("fc", kv_cache=one)]).layers
    assert again.kv_cache == one


def test_an_entry_of_an_output_alone_quantizes_no_layer() -> None:
    entry = LayerRecord("fc", kv_cache=TWO)
    assert not entry.is_quantized
    with pytest.raises(DiagnosticError, match="AM605"):
        validate(ScaleRecord((entry,)), small_graph())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "has no `scale`"),
        ("scale: 0.5", "has 0 `offset` for 1 `scale`"),
        ("scale: 0.5 scale: 1 offset: 0", "has 1 `offset` for 2 `scale`"),
        ("scale: 0 offset: 0", "has the `scale` 0;"),
        ("scale: nan offset: 0", "has the `scale` nan;"),
        ("scale: 1 offset: 128", "has the `offset` 128;"),
    ],
)
def test_factors_that_are_no_grid_are_refused_at_their_place(body: str, words: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        parsed(f'record {{ key: "k" kv_cache_value {{ {body} }} }}')
    (found,) = caught.value.diagnostics
    assert found.code == "AM286" and words in found.message
    assert found.span is not None
