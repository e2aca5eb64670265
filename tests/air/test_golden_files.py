"""The files that GE's own code has written: read, written again, and decoded by a second schema of the same facts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amctc.air.files import air_bytes, read_air
from amctc.air.schema import ge_schema, new
from tests.air.ge_files import DAMAGED, WHOLE, as_json, messages
from tests.air.independent_schema import decodes_equally, model_class
from tests.shared_files import needs_golden

pytestmark = needs_golden
by_name = pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)


def test_all_fourteen_files_are_here() -> None:
    assert len(WHOLE) == 14
    assert len(DAMAGED) == 126


@by_name
def test_a_file_reads_to_what_its_json_states(path: Path) -> None:
    assert as_json(read_air(path)) == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


@by_name
def test_a_file_is_written_again_to_an_equal_message(path: Path, tmp_path: Path) -> None:
    model = read_air(path)
    again = tmp_path / "again.air"
    again.write_bytes(air_bytes(model))
    assert read_air(again) == model
    assert air_bytes(read_air(again)) == again.read_bytes()


@by_name
def test_a_file_decodes_the_same_by_a_second_schema(path: Path) -> None:
    model = decodes_equally(path.read_bytes())
    assert decodes_equally(air_bytes(model)) == model


def test_the_second_schema_has_the_fields_of_ours() -> None:
    ours, theirs = ge_schema().descriptor("ge.proto.ModelDef"), model_class().DESCRIPTOR
    waiting, seen = [(ours, theirs)], set[str]()
    while waiting:
        one, other = waiting.pop()
        if one.name in seen or one.name == "AttrGroups":
            continue
        seen.add(one.name)
        numbers = {field.name: field.number for field in one.fields}
        assert numbers == {field.name: field.number for field in other.fields}, one.name
        waiting += [(field.message_type, other.fields_by_name[field.name].message_type) for field in one.fields
                    if field.message_type is not None]  # fmt: skip
    assert len(seen) > 10


def test_a_field_that_one_schema_lacks_is_told() -> None:
    model = new("ModelDef")
    model.attr_groups.other_group_def.attr["a"].i = 1
    with pytest.raises(AssertionError, match="unknown fields"):
        decodes_equally(air_bytes(model))


def test_every_message_of_a_file_is_visited() -> None:
    names = {each.DESCRIPTOR.name for each in messages(read_air(WHOLE[2]))}
    assert {"ModelDef", "GraphDef", "OpDef", "TensorDescriptor", "ShapeDef", "AttrDef", "TensorDef"} <= names
