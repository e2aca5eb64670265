"""`verify-ge` against GE's own loaders, and its rules one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from amctc.air.files import air_bytes, read_air
from amctc.air.layouts import layout_number
from amctc.air.schema import ModelDef, OpDef, new
from amctc.air.verify import check_air, verify_air, verify_file
from amctc.air.verify.edges import End, find_cycle, read_end
from amctc.air.verify.report import MOST_ERRORS, MOST_OF_A_CODE
from amctc.codes import all_codes
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level
from amctc.frontends.ge.load import graph_of_model
from tests.air.ge_files import DAMAGED, FOLDER, WHOLE, case_of, verdicts
from tests.shared_files import needs_golden

CODES = {
    "01_tensor_has_out_attr_missing": "AM365",
    "02_op_has_out_attr_missing": "AM365",
    "03_all_has_out_attr_missing": "AM365",
    "04_list_int_without_val_type": "AM372",
    "05_list_int_marked_float": "AM372",
    "06_list_val_type_unknown_99": "AM372",
    "07_attr_without_value": "AM371",
    "08_edge_from_unknown_node": "AM367",
    "09_edge_out_index_too_big": "AM368",
    "10_edge_without_colon": "AM366",
    "11_edge_index_not_a_number": "AM366",
    "13_edge_index_minus_5": "AM366",
    "14_more_edges_than_input_desc": "AM368",
    "15_input_desc_removed": "AM368",
    "16_fewer_edges_than_input_desc": "AM369",
    "17_control_edge_unknown_node": "AM367",
    "28_op_without_name": "AM363",
    "31_dtype_unknown_999": "AM374",
    "33_layout_unknown": "AM375",
    "34_layout_absent": "AM375",
    "35_shape_absent": "AM376",
    "37_input_name_value_missing": "AM373",
    "38_input_name_lengths_differ": "AM373",
    "41_graph_input_unknown_node": "AM382",
    "42_graph_input_list_empty": "AM382",
    "43_graph_output_unknown_node": "AM383",
    "46_graph_output_without_colon": "AM383",
    "47_no_graph": "AM361",
    "50_subgraph_name_without_graph": "AM384",
    "51_second_graph_unreferenced": "AM384",
    "52_model_attrs_absent": "AM362",
    "53_model_version_99": "AM362",
    "54_output_desc_removed": "AM368",
    "60_empty_file": "AM350",
    "61_truncated": "AM350",
    "62_garbage": "AM350",
    "63_trailing_garbage": "AM350",
    "64_unknown_top_field": "AM360",
    "65_invalid_utf8_node_name": "AM350",
    "66_invalid_utf8_in_layout": "AM350",
}
"""The cases that a loader of either generation refuses or changes, and the code that the damage has."""

OVERLOOKED = {
    "18_const_data_too_short": "AM379",
    "19_const_data_too_long": "AM379",
    "20_const_data_empty": "AM379",
    "21_const_without_value": "AM378",
    "22_const_shape_differs_from_output_desc": "AM380",
    "23_duplicate_node_names": "AM364",
    "26_cycle": "AM370",
    "27_self_loop": "AM370",
    "29_op_without_type": "AM363",  # nothing tells what to run
    "36_shape_minus_9": "AM377",
    "39_input_names_missing": "AM373",  # ops find their inputs by name: mandatory in practice
    "40_input_name_value_out_of_range": "AM373",
    "44_graph_output_index_too_big": "AM383",
    "48_graph_without_ops": "AM383",  # a graph without outputs and without a NetOutput gives nothing
}
"""Cases that both loaders accept and leave as they are, and that are errors nevertheless."""

WARNED = {
    "12_edge_empty_string": "AM386",
    "24_duplicate_ids": "AM385",
    "32_dtype_absent": "AM387",
}
"""Cases that both loaders accept and leave as they are, and of which a warning tells."""

SILENT = {
    "25_ops_reversed",  # the order of ops is free
    "30_op_type_unknown",  # there are ops of others
    "42b_graph_input_names_data",
    "49_graph_name_empty",
}
"""Cases that are right."""

Damage: TypeAlias = Callable[[ModelDef], object]


def codes(found: list[Diagnostic], level: Level) -> set[str]:
    return {diagnostic.code for diagnostic in found if diagnostic.level is level}


@needs_golden
@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_what_ge_has_written_is_right(path: Path) -> None:
    found = verify_file(path)
    # 07 was made without the operator classes, so that its Data node has no index.
    assert [each.code for each in found] == (["AM381"] if "07_opdesc" in path.stem else [])
    assert codes(found, Level.ERROR) == set()


@needs_golden
@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.stem)
def test_a_damaged_file_is_judged_by_what_the_loaders_do(path: Path) -> None:
    generation, case = case_of(path)
    found = verify_file(path)
    errors, warnings = codes(found, Level.ERROR), codes(found, Level.WARNING)
    # No file of 2021 has a list of inputs, so that the case of an empty one is no damage to it.
    if case in SILENT | {"00_untouched"} or path.stem == "metadef2021_42_graph_input_list_empty":
        assert found == []
    elif any(verdict.refused or verdict.changed for verdict in verdicts()[case]):
        assert CODES[case] in errors
    elif case == "45_graph_output_list_empty":
        # Files of 2026 have a NetOutput besides; those of 2021 are left without any output.
        assert errors == ({"AM383"} if generation == "metadef2021" else set())
    elif case in OVERLOOKED:
        assert errors == {OVERLOOKED[case]}
    else:
        assert errors == set()
        assert warnings == {WARNED[case]}


@needs_golden
def test_every_damaged_case_is_in_one_of_the_lists() -> None:
    cases = {case_of(path)[1] for path in DAMAGED} - {"00_untouched", "45_graph_output_list_empty"}
    assert cases == CODES.keys() | OVERLOOKED.keys() | WARNED.keys() | SILENT


@needs_golden
def test_the_case_of_2021_without_inputs_is_the_whole_file() -> None:
    case, whole = (FOLDER / f"damaged/metadef2021_{name}.air" for name in ("42_graph_input_list_empty", "00_untouched"))
    assert read_air(case) == read_air(whole)


@needs_golden
def test_the_reason_names_the_node_and_the_file() -> None:
    path = FOLDER / "damaged/ge2026_08_edge_from_unknown_node.air"
    (found,) = verify_file(path)
    assert found.message == "`conv1`: the input `nobody:0` comes from no node of the graph"
    assert found.file == str(path)


def described(desc: Any, *dims: int) -> None:
    desc.dtype, desc.layout, desc.has_out_attr = 1, "ND", True
    desc.shape.SetInParent()
    desc.shape.dim.extend(dims)


def add_op(model: ModelDef, name: str, type: str, *inputs: str, outputs: int = 1) -> OpDef:
    """An op whose tensors all have the shape 2 x 2; control edges get no descriptor."""
    op = model.graph[0].op.add(name=name, type=type, input=inputs, id=len(model.graph[0].op), has_out_attr=True)
    slots = len([text for text in inputs if not text.endswith(":-1")])
    for _ in range(slots):
        described(op.input_desc.add(), 2, 2)
    for _ in range(outputs):
        described(op.output_desc.add(), 2, 2)
    for end, count in (("input", slots), ("output", outputs)):
        if count:
            op.attr[f"_{end}_name_key"].list.s.extend(f"{end}{slot}".encode() for slot in range(count))
            op.attr[f"_{end}_name_value"].list.i.extend(range(count))
    return op


@pytest.fixture
def model() -> ModelDef:
    """Two inputs, a constant, their sum, and an op that is called after it."""
    made = new("ModelDef")
    graph = made.graph.add(name="net", input=["a:0", "b:0"], output=["last:0"])
    for number, name in enumerate("ab"):
        add_op(made, name, "Data", "").attr["index"].i = number
    value = add_op(made, "k", "Const").attr["value"].t
    described(value.desc, 2, 2)
    value.data = bytes(16)
    add_op(made, "sum", "AddN", "a:0", "b:0", "k:0")
    add_op(made, "last", "Relu", "sum:0", "k:-1")
    for name in ("memory_size", "p2p_memory_size", "stream_num", "event_num", "label_num", "weight_size"):
        made.attr[name].i = 0
    made.attr["target_type"].s = b"MINI"
    assert verify_air(made) == []
    assert [op.name for op in graph.op] == ["a", "b", "k", "sum", "last"]
    return made


def named(model: ModelDef, name: str) -> OpDef:
    return next(op for op in model.graph[0].op if op.name == name)


def put(op: str, where: str = "", /, **fields: object) -> Damage:
    """Set fields of what `where` leads to from the op of this name, or from the model."""

    def damage(model: ModelDef) -> None:
        found: Any = named(model, op) if op else model
        for step in where.split():
            found = (
                found[int(step)] if step.isdigit() else getattr(found, step) if hasattr(found, step) else found[step]
            )
        for field, value in fields.items():
            setattr(found, field, value)

    return damage


def size_without_has_out_attr(model: ModelDef) -> None:
    put("sum", "output_desc 0", has_out_attr=False, data_offset=1)(model)


def names_of_some_inputs(model: ModelDef) -> None:
    named(model, "sum").attr["_input_name_key"].list.s.pop()
    named(model, "sum").attr["_input_name_value"].list.i.pop()


def names_twice(model: ModelDef) -> None:
    named(model, "sum").attr["_input_name_key"].list.s[0] = b"input1"


def too_many_elements(model: ModelDef) -> None:
    named(model, "sum").output_desc[0].shape.dim.append(1 << 61)


def no_names(model: ModelDef) -> None:
    del named(model, "sum").attr["_output_name_key"]
    del named(model, "sum").attr["_output_name_value"]


def subgraph_of_itself(model: ModelDef) -> None:
    model.graph.add().CopyFrom(model.graph[0])
    model.graph[1].name = "inner"
    model.graph[0].op[3].subgraph_name.append("inner")
    model.graph[1].op[3].subgraph_name.append("inner")


def two_subgraphs_of_a_name(model: ModelDef) -> None:
    for _ in range(2):
        model.graph.add().CopyFrom(model.graph[0])
        model.graph[-1].name = "inner"
    model.graph[0].op[3].subgraph_name.append("inner")


def attribute_in_an_attribute(model: ModelDef) -> None:
    inner = named(model, "sum").attr["f"].func.attr["g"].list
    inner.val_type = 9
    inner.na.add().attr["list"].list.i.append(1)


def graph_in_an_attribute(model: ModelDef) -> None:
    graph = type(model.graph[0])()
    graph.CopyFrom(model.graph[0])  # in two steps: a message cannot be copied into itself
    named(model, "sum").attr["g"].g.CopyFrom(graph)
    named(model, "sum").attr["g"].g.op[0].output_desc[0].layout = "NCWH"


def list_of_tensors(model: ModelDef) -> None:
    found = named(model, "sum").attr["t"].list
    found.val_type = 7
    tensor = found.t.add(data=b"123")
    described(tensor.desc, 1)


def unknown_field_in(message: Any) -> None:
    message.MergeFromString(b"\xfa\x07\x03abc")


ERRORS: dict[str, tuple[str, Damage]] = {
    "an unknown field of an op": ("AM360", lambda m: unknown_field_in(m.graph[0].op[1])),
    "an unknown field of a shape": ("AM360", lambda m: unknown_field_in(m.graph[0].op[3].input_desc[1].shape)),
    "an unknown field of an attribute": ("AM360", lambda m: unknown_field_in(m.graph[0].op[0].attr["index"])),
    "a model's name": ("AM362", put("", name="net")),
    "another target type": ("AM362", put("", "attr target_type", s=b"TINY")),
    "a size that is not 0": ("AM362", put("", "attr memory_size", i=5)),
    "another attribute of the model": ("AM362", put("", "attr extra", i=5)),
    "a descriptor's size without has_out_attr": ("AM365", size_without_has_out_attr),
    "data behind a control edge": ("AM366", lambda m: named(m, "last").input.reverse()),
    "an index with a sign": ("AM366", lambda m: named(m, "last").input.__setitem__(0, "sum:+0")),
    "an index with a zero before it": ("AM366", lambda m: named(m, "last").input.__setitem__(0, "sum:00")),
    "an index of 2^40": ("AM366", lambda m: named(m, "last").input.__setitem__(0, f"sum:{1 << 40}")),
    "an index of 2^31": ("AM368", lambda m: named(m, "last").input.__setitem__(0, f"sum:{1 << 31}")),
    "a left-out input too many": ("AM368", lambda m: named(m, "last").input.insert(1, "")),
    "a cycle of control edges": ("AM370", lambda m: named(m, "sum").input.append("last:-1")),
    "a control edge to itself": ("AM370", lambda m: named(m, "sum").input.append("sum:-1")),
    "an attribute of a descriptor without value": ("AM371", lambda m: m.graph[0].op[0].input_desc[0].attr["x"]),
    "an attribute of the graph without value": ("AM371", lambda m: m.graph[0].attr["x"]),
    "an empty list without its type": ("AM372", lambda m: m.graph[0].op[0].attr["x"].list.SetInParent()),
    "a list in a list": ("AM372", attribute_in_an_attribute),
    "names of some inputs": ("AM373", names_of_some_inputs),
    "two inputs of one name": ("AM373", names_twice),
    "two names of one input": ("AM373", lambda m: named(m, "sum").attr["_input_name_value"].list.i.__setitem__(0, 1)),
    "names that are no list": ("AM373", put("sum", "attr _input_name_key", i=1)),
    "no names of outputs": ("AM373", no_names),
    "kinds of inputs without names": ("AM373", lambda m: m.graph[0].op[3].attr["_ir_inputs_value"].list.i.append(0)),
    "a layout in a graph in an attribute": ("AM375", graph_in_an_attribute),
    "a layout with a wrong part behind the colon": ("AM375", put("a", "output_desc 0", layout="FRACTAL_Z:65536")),
    "a layout that its number contradicts": ("AM375", put("a", "output_desc 0 attr format_for_int", i=0)),
    "a wrong original format": ("AM375", put("a", "output_desc 0 attr origin_format", s=b"FOO")),
    "a rank that is not known beside a dim": ("AM377", lambda m: m.graph[0].op[3].output_desc[0].shape.dim.append(-2)),
    "more elements than can be counted": ("AM377", too_many_elements),
    "a value that is no tensor": ("AM378", put("k", "attr value", i=1)),
    "a value without an element type": ("AM379", put("k", "attr value t desc", dtype=0)),
    "a tensor in a list": ("AM379", list_of_tensors),
    "a constant of another type": ("AM380", put("k", "output_desc 0", dtype=7)),
    "a number twice": ("AM381", put("b", "attr index", i=0)),
    "a number too large": ("AM381", put("b", "attr index", i=2)),
    "one of two numbers missing": ("AM381", lambda m: m.graph[0].op[1].attr.pop("index")),
    "an input that is not listed": ("AM382", lambda m: m.graph[0].input.pop()),
    "an input with another index": ("AM382", lambda m: m.graph[0].input.append("a:1")),
    "a negative output": ("AM383", lambda m: m.graph[0].output.append("last:-1")),
    "a subgraph without a name": ("AM384", lambda m: m.graph[0].op[3].subgraph_name.append("")),
    "a subgraph in itself": ("AM384", subgraph_of_itself),
    "the first graph in itself": ("AM384", lambda m: m.graph[0].op[3].subgraph_name.append("net")),
    "two subgraphs of a name": ("AM384", two_subgraphs_of_a_name),
}  # fmt: skip


@pytest.mark.parametrize("what", ERRORS)
def test_a_mistake_is_found(what: str, model: ModelDef) -> None:
    code, damage = ERRORS[what]
    damage(model)
    found = verify_air(model)
    assert code in codes(found, Level.ERROR)
    with pytest.raises(DiagnosticError, match=code):
        check_air(model)


def test_every_rule_has_a_case() -> None:
    tested = {*CODES.values(), *OVERLOOKED.values(), *WARNED.values(), "AM388", "AM389"}
    tested |= {code for code, _ in ERRORS.values()}
    assert {code for code in all_codes() if "AM360" <= code <= "AM389"} <= tested


def test_a_single_input_needs_no_number(model: ModelDef) -> None:
    named(model, "b").type = "Variable"
    named(model, "b").attr.pop("index")
    named(model, "a").attr.pop("index")
    model.graph[0].input.pop()
    assert [(each.code, each.level) for each in check_air(model) if each.code == "AM381"] == [("AM381", Level.WARNING)]


def test_an_input_that_gives_another_shape_is_warned_of(model: ModelDef) -> None:
    named(model, "a").output_desc[0].shape.dim.append(2)
    assert [(each.code, each.level) for each in check_air(model)] == [("AM388", Level.WARNING)]


def test_data_in_another_file_is_not_looked_at(model: ModelDef) -> None:
    named(model, "k").attr["value"].t.data = b""
    named(model, "k").attr["location"].s = b"air_weight/k"
    (found,) = check_air(model)
    assert (found.code, found.level) == ("AM389", Level.WARNING)
    assert "`air_weight/k`" in found.message


def test_a_loop_through_a_next_iteration_is_no_cycle(model: ModelDef) -> None:
    add_op(model, "next", "NextIteration", "last:0")
    named(model, "sum").input[1] = "next:0"
    assert check_air(model) == []


def test_a_loop_through_a_next_iteration_is_not_loaded(model: ModelDef) -> None:
    add_op(model, "next", "NextIteration", "last:0")
    named(model, "sum").input[1] = "next:0"
    with pytest.raises(DiagnosticError, match=r"the op `sum` .* is in a loop") as raised:
        graph_of_model(model, "net.air", Collector())
    assert [found.code for found in raised.value.diagnostics] == ["AM354"]


def test_an_optional_input_that_is_left_out_is_right(model: ModelDef) -> None:
    op = named(model, "sum")
    op.input[2] = ""
    assert codes(verify_air(model), Level.WARNING) == {"AM386"}
    op.attr["_opt_input"].list.s.append(b"input2")
    assert verify_air(model) == []
    del op.attr["_opt_input"]
    op.input_desc[2].dtype, op.input_desc[2].layout = 0, "FORMAT_RESERVED"
    assert verify_air(model) == []


def test_a_subgraph_that_is_named_is_right(model: ModelDef) -> None:
    model.graph.add().CopyFrom(model.graph[0])
    model.graph[1].name = "inner"
    named(model, "sum").subgraph_name.append("inner")
    assert check_air(model) == []
    model.graph[1].op[3].name = ""
    assert {each.message for each in verify_air(model) if each.code == "AM363"} == {
        "op 3 of the graph `inner` has no name"
    }


@pytest.mark.parametrize(
    ("dtype", "dims", "size"),
    [
        (1, (), 4),
        (2, (3,), 6),
        (27, (3,), 6),
        (28, (3,), 2),
        (29, (9,), 2),
        (13, (3,), 99),
        (3, (0, 5), 0),
        (1, (-1,), 7),
    ],
)
def test_the_length_of_data_is_that_of_its_type(dtype: int, dims: tuple[int, ...], size: int, model: ModelDef) -> None:
    op = named(model, "k")
    for desc in (op.attr["value"].t.desc, op.output_desc[0]):
        desc.dtype = dtype
        desc.shape.dim[:] = dims
    op.attr["value"].t.data = bytes(size)
    assert check_air(model) == []


@pytest.mark.parametrize("count", [MOST_OF_A_CODE + 1, MOST_ERRORS])
def test_the_same_mistake_is_not_told_a_thousand_times(count: int, model: ModelDef) -> None:
    model.graph[0].output.extend(["nobody:0"] * count)
    found = verify_air(model)
    assert len(found) == MOST_OF_A_CODE + 1
    assert found[-1].message == f"and {count - MOST_OF_A_CODE} more of this kind"
    assert (found[-1].level, found[-1].help) == (Level.ERROR, None)


def test_of_a_file_of_mistakes_the_rest_is_not_looked_at(model: ModelDef) -> None:
    model.graph[0].output.extend(["nobody:0"] * 5000)
    found = verify_air(model)
    assert found[-1].message == f"and {MOST_ERRORS + 1 - MOST_OF_A_CODE} more of this kind"
    assert found[-1].help is not None


def test_a_name_is_shown_shortened_and_no_message_is_long(model: ModelDef) -> None:
    named(model, "sum").input[0] = "x" * 100_000 + ":0"
    inner = named(model, "last").attr
    for _ in range(25):
        inner = inner["y" * 1000].func.attr
    inner["z"].SetInParent()
    assert {each.code for each in verify_air(model)} == {"AM367", "AM371"}
    assert max(len(each.message) for each in verify_air(model)) < 4000


def test_attributes_nest_as_deep_as_protobuf_reads_them(model: ModelDef, tmp_path: Path) -> None:
    inner = named(model, "last").attr
    path = tmp_path / "deep.air"
    depth = 0
    while True:
        path.write_bytes(air_bytes(model))
        try:
            read_air(path)
        except DiagnosticError:
            break
        assert verify_file(path) == []
        desc = inner["x"].list.td.add()
        inner["x"].list.val_type = 6
        described(desc)
        inner, depth = desc.attr, depth + 1
    assert depth > 15


def test_the_ends_of_edges_are_taken_apart_at_the_last_colon() -> None:
    assert read_end("a:b:3") == End("a:b", 3)
    assert read_end(":0") == End("", 0)
    assert read_end("a:-1") == End("a", -1)
    for text in ("a", "", "a:", "a:-0", "a:1 ", "a:１", "a:0x1"):
        assert isinstance(read_end(text), str), text


def test_a_cycle_is_found_in_its_order() -> None:
    assert find_cycle([[1], [2], []]) is None
    assert find_cycle([[1], [2], [3], [1]]) in ([1, 2, 3], [2, 3, 1], [3, 1, 2])
    long = [[number + 1] for number in range(50_000)]
    assert find_cycle([*long, []]) is None
    assert len(find_cycle([*long, [0]]) or ()) == 50_001


def test_layouts_have_the_numbers_of_ge() -> None:
    assert [layout_number(text) for text in ("NCHW", "ND", "HWCN", "NC1HWC0", "C1HWC0")] == [0, 2, 16, 3, 49]
    assert layout_number("FRACTAL_Z:8") == 4 | 8 << 8
    assert layout_number("LOOKUP_KEYS") == 21
    for text in ("", "nchw", "NCHW:", "NCHW:-1", "NCHW:08", "NCHW:99999", "NCHW " * 1000):
        assert layout_number(text) is None
