"""Reading records: both forms, what does not fit, and putting factors into one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import Collector, DiagnosticError
from amctc.records.read_record import MOST_BYTES, merge_into, parse_record, read_record
from amctc.records.scale_record import InputRecord, LayerRecord, record_text
from amctc.source import SourceFile
from tests.shared_files import SEEDS, needs_seeds

ENTRY = """\
record {
  key: "conv1"
  value {
    scale_w: 0.25
    scale_w: 0.5
    offset_w: 0
    offset_w: 0
    num_bits_w: 8
    skip_fusion: true
    object_layer: "conv1"
    record_d {
      scale_d: 0.01424
      offset_d: -128
      index: 0
      num_bits_d: 12
      channels: 3
      height: 8
      width: 9
    }
  }
}
"""


def read(text: str, collector: Collector | None = None) -> tuple[LayerRecord, ...]:
    return parse_record(SourceFile("record.txt", text), collector).layers


def mistakes(text: str) -> list[tuple[str, str, str]]:
    """Code, place and message of everything that is wrong with a text."""
    with pytest.raises(DiagnosticError) as caught:
        read(text)
    return [(told.code, str(told.span), told.message) for told in caught.value.diagnostics]


def f32(value: float) -> float:
    return float(np.float32(value))


def test_every_field_of_an_entry_is_read() -> None:
    (layer,) = read(ENTRY)
    assert layer == LayerRecord(
        "conv1",
        (InputRecord(0, f32(0.01424), -128, 12, 3, 8, 9),),
        (0.25, 0.5),
        (0, 0),
        8,
        skip_fusion=True,
        object_layer="conv1",
    )
    assert str(layer.span) == "record.txt:2:8"
    assert str(layer.place("scale_w", 1)) == "record.txt:5:14"
    assert str(layer.inputs[0].place("offset_d")) == "record.txt:13:17"


def test_bits_are_8_where_the_record_says_nothing() -> None:
    (layer,) = read('record { key: "a" value { record_d { index: 2 } } }')
    assert (layer.bits_w, layer.inputs[0].bits, layer.inputs[0].index) == (8, 8, 2)
    assert layer.inputs[0].scale is None and layer.inputs[0].offset is None


def test_the_older_form_is_the_same_as_input_0() -> None:
    old = 'record: { key: "a" value: { scale_d: 0.5 offset_d: 3 channels: 1 height: 2 width: 3 scale_w: 1 } }'
    new = (
        'record { key: "a" value { record_d { index: 0 scale_d: 0.5 offset_d: 3 channels: 1 height: 2 width: 3 } '
        "scale_w: 1 } }"
    )
    assert read(old) == read(new)


def test_an_empty_file_is_an_empty_record() -> None:
    assert read("") == read("# nothing yet\n") == ()


@pytest.mark.parametrize(
    ("text", "code", "place", "words"),
    [
        ('record { key: "a" value { scale: 1 } }', "AM110", "1:27", "`value` has no field `scale`"),
        ('record { key: "a" value { scale_w: "1" } }', "AM111", "1:36", "`scale_w` must be a number"),
        ('record { key: "a" value { offset_w: 3000000000 } }', "AM112", "1:37", "3000000000 is out of range"),
        ('record { key: "a" value { scale_d: 1e39 } }', "AM112", "1:36", "1e+39 is out of range"),
        ('record { key: "a" value { shift_bit: -1 } }', "AM112", "1:38", "-1 is out of range"),
        ('record { key: "a" value { record_d { scale_d: 1 } } }', "AM114", "1:36", "`record_d` needs a field `index`"),
        ("record { value { scale_w: 1 } }", "AM601", "1:1", "this `record` has no `key`"),
        ('record { key: "a" }', "AM601", "1:1", "this `record` has no `value`"),
        (
            'record { key: "a" value { scale_w: 1 } } record { key: "a" value { scale_w: 2 } }',
            "AM602",
            "1:56",
            "the record has the layer `a` twice",
        ),
        (
            'record { key: "a" value { record_d { index: 1 } record_d { index: 1 } } }',
            "AM603",
            "1:67",
            "input 1 of this layer has factors twice",
        ),
        (
            'record { key: "a" value { scale_d: 1 record_d { index: 0 } } }',
            "AM603",
            "1:56",
            "input 0 of this layer has factors twice",
        ),
        ('record { key: "a" value { scale_w: 1 }', "AM600", "1:8", "this brace is never closed"),
        ('record { key: "a" value { } } }', "AM600", "1:31", "this `}` closes nothing"),
        (
            'record {\n  key: "a"\n  value { scale_w: 1\n} record {\n  key: "b" value { }\n}',
            "AM600",
            "4:3",
            "this `record` begins inside that of line 1",
        ),
        ('record { key: "a" value { scale_w: 0x } }', "AM101", "1:36", "`0x` is not a number"),
    ],
)
def test_what_does_not_fit_is_told_at_its_place(text: str, code: str, place: str, words: str) -> None:
    ((found, where, message),) = mistakes(text)
    assert (found, where) == (code, f"record.txt:{place}")
    assert words in message


def test_a_record_inside_a_closed_one_says_which_brace_is_missing() -> None:
    with pytest.raises(DiagnosticError) as caught:
        read('record {\n  key: "a" value { }\n  record {\n    key: "b" value { }\n  }\n}')
    (found,) = caught.value.diagnostics
    assert (found.code, str(found.span)) == ("AM110", "record.txt:3:3")
    assert found.help == "a `}` is missing before it, to close the record in front"


@needs_seeds
def test_the_braces_of_the_published_sample_do_not_match() -> None:
    manual = (SEEDS / "001_amct_caffe_guide.md").read_text(encoding="utf-8")
    start = manual.index('record { \n    key: "conv1"')
    sample = manual[start : manual.index("```", start)]
    ((code, place, message),) = mistakes(sample)
    assert (code, place, message) == (
        "AM600",
        "record.txt:21:3",
        "this `record` begins inside that of line 1",
    )
    mended = sample.replace("} record {", "} } record {", 1).replace("        scale_d: 0.01424 \n", "", 1)
    layers = read(mended.replace("        offset_d: -128 \n", "", 1))
    assert [layer.name for layer in layers] == ["conv1", "pool1", "fc1000"]
    assert layers[0].scale_w == (f32(0.43213), f32(0.78163), f32(1.03213))


def test_the_last_of_several_counts_with_a_warning() -> None:
    collector = Collector()
    text = 'record { key: "a" value { record_d { index: 0 scale_d: 1 scale_d: 2 } num_bits_w: 7 num_bits_w: 8 } }'
    (layer,) = read(text, collector)
    assert (layer.inputs[0].scale, layer.bits_w) == (2.0, 8)
    assert [(told.code, str(told.span)) for told in collector.warnings] == [
        ("AM604", "record.txt:1:85"),
        ("AM604", "record.txt:1:58"),
    ]


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes('record { key: "a" value { x: 1 } }\nrecord { key: "a" value { scale_w: true } }')
    assert [(code, place) for code, place, _ in found] == [("AM110", "record.txt:1:27"), ("AM111", "record.txt:2:36")]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    path.touch()
    os.truncate(path, MOST_BYTES + 1)
    with pytest.raises(DiagnosticError) as caught:
        read_record(path)
    assert caught.value.diagnostics[0].code == "AM102"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        read_record(tmp_path / "nothing.txt")
    assert caught.value.diagnostics[0].code == "AM100"


def test_deep_nesting_is_told_as_what_it_is() -> None:
    assert mistakes("record { " * 5000)[0][0] == "AM103"


# -- writing ------------------------------------------------------------------------------------------------------

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**31 - 1)
inputs = st.builds(
    InputRecord,
    index=st.integers(0, 100),
    scale=st.none() | floats,
    offset=st.none() | st.integers(-(2**31), 2**31 - 1),
    bits=st.integers(1, 32),
    channels=st.none() | counts,
    height=st.none() | counts,
    width=st.none() | counts,
)
weights = st.lists(st.tuples(floats, st.integers(-5, 5)), max_size=4)


@st.composite
def layers(draw: st.DrawFn) -> LayerRecord:
    scales = draw(weights)
    return LayerRecord(
        draw(st.text(max_size=12)),
        tuple(draw(st.lists(inputs, max_size=3, unique_by=lambda each: each.index))),
        tuple(scale for scale, _ in scales),
        tuple(offset for _, offset in scales),
        draw(st.integers(1, 16)) if scales else 8,
        draw(st.booleans()),
        tuple(draw(st.lists(st.integers(0, 16), max_size=3))),
        draw(st.none() | st.text(max_size=8)),
    )


@given(st.lists(layers(), max_size=4, unique_by=lambda each: each.name))
def test_what_is_written_is_read_back_without_loss(written: list[LayerRecord]) -> None:
    assert list(read(record_text(written))) == written


@given(st.text(alphabet='record{}key:value"scale_w 01.#\n', max_size=80))
def test_no_text_does_worse_than_a_diagnostic(text: str) -> None:
    try:
        read(text)
    except DiagnosticError as refusal:
        assert all(told.message for told in refusal.diagnostics)


# -- merging ------------------------------------------------------------------------------------------------------


def test_new_factors_go_beside_those_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    merge_into(path, [LayerRecord("conv").with_weights([0.25, 0.5], 8), LayerRecord("pool", skip_fusion=True)])
    made = merge_into(path, [LayerRecord("conv", (InputRecord(1, 0.5, 3), InputRecord(0, 0.125, 0)))])
    assert read_record(path) == made
    assert made.layers == (
        LayerRecord("conv", (InputRecord(0, 0.125, 0), InputRecord(1, 0.5, 3)), (0.25, 0.5), (0, 0)),
        LayerRecord("pool", skip_fusion=True),
    )


def test_new_factors_replace_old_ones_of_the_same_input_alone(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    merge_into(path, [LayerRecord("sum", (InputRecord(0, 1.0, 1), InputRecord(1, 2.0, 2)))])
    merge_into(path, [LayerRecord("sum", (InputRecord(1, 4.0, 4, 12),)), LayerRecord("fc").with_weights([0.5], 8)])
    assert read_record(path).layers == (
        LayerRecord("sum", (InputRecord(0, 1.0, 1), InputRecord(1, 4.0, 4, 12))),
        LayerRecord("fc").with_weights([0.5], 8),
    )
    merge_into(path, [LayerRecord("fc").with_weights([0.25], 8)])
    assert read_record(path).by_name["fc"].scale_w == (0.25,)


def test_the_record_can_be_put_in_the_order_of_a_graph(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    merge_into(path, [LayerRecord(name, skip_fusion=True) for name in ("stranger", "fc", "conv")])
    made = merge_into(path, [LayerRecord("pool", skip_fusion=True)], order=["data", "conv", "pool", "fc"])
    assert [layer.name for layer in made.layers] == ["conv", "pool", "fc", "stranger"]


def test_a_record_that_cannot_be_read_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    path.write_text("record {", encoding="utf-8")
    with pytest.raises(DiagnosticError):
        merge_into(path, [LayerRecord("fc").with_weights([0.5], 8)])
    assert path.read_text(encoding="utf-8") == "record {"
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_file_takes_factors(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    path.touch()
    merge_into(path, [LayerRecord("fc").with_weights([0.5], 8)])
    assert path.read_text(encoding="utf-8").startswith('record {\n  key: "fc"\n  value {\n    scale_w: 0.5\n')
