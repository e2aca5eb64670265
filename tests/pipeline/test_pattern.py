"""Chain patterns match what they say; a pattern that says nothing sensible is refused at its column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.ir import Graph
from amctc.pipeline.matching import find_matches
from amctc.pipeline.pattern import Match, PatternError, parse_pattern
from amctc.pipeline.pattern_syntax import LONGEST_PATTERN
from amctc.text.plain import Plain, Symbol

CONV_BN = "linear -> BatchNorm? -> Scale? -> Bias?"


def graph_of(*types: str) -> Graph:
    """A chain behind an Input; each layer has the name of its type, from the second of a type on with a number."""
    graph = Graph()
    value = graph.add("data", "caffe.Input").output
    for type in types:
        value = graph.add(graph.unused_name(type.lower()), f"caffe.{type}", [value]).output
    graph.outputs = [value]
    return graph


def only_match(graph: Graph, pattern: str) -> Match:
    (match,) = find_matches(parse_pattern(pattern), graph).matches
    return match


def matched(graph: Graph, pattern: str) -> list[str]:
    """The names of every match, in one word each."""
    return [
        " ".join(node.name for node in match.nodes) for match in find_matches(parse_pattern(pattern), graph).matches
    ]


def test_optional_steps_are_taken_when_they_are_there() -> None:
    assert matched(graph_of("Convolution", "BatchNorm", "Scale"), CONV_BN) == ["convolution batchnorm scale"]
    assert matched(graph_of("InnerProduct", "Bias"), CONV_BN) == ["innerproduct bias"]


def test_a_chain_in_another_order_matches_as_far_as_the_order_holds() -> None:
    assert matched(graph_of("Convolution", "Scale", "BatchNorm"), CONV_BN) == ["convolution scale"]


def test_a_first_step_alone_is_no_match_when_the_pattern_has_more() -> None:
    assert matched(graph_of("Convolution", "ReLU"), CONV_BN) == []


def test_a_value_with_two_readers_or_that_is_an_output_ends_the_chain() -> None:
    graph = graph_of("Convolution", "BatchNorm")
    graph.add("second", "caffe.ReLU", [graph.node("convolution").output])
    assert matched(graph, CONV_BN) == []
    graph = graph_of("Convolution", "BatchNorm")
    graph.outputs.append(graph.node("convolution").output)
    assert matched(graph, CONV_BN) == []


def test_a_reader_through_its_second_input_ends_the_chain() -> None:
    graph = graph_of("Convolution")
    data, convolution = graph.node("data"), graph.node("convolution")
    graph.add("scale", "caffe.Scale", [data.output, convolution.output])
    assert matched(graph, CONV_BN) == []


def test_a_wide_arrow_goes_on_where_others_read_the_value() -> None:
    graph = graph_of("Convolution", "BatchNorm", "Scale")
    graph.add("second", "caffe.ReLU", [graph.node("convolution").output])
    graph.outputs.append(graph.node("convolution").output)
    assert matched(graph, "linear => BatchNorm -> Scale") == ["convolution batchnorm scale"]


def test_a_wide_arrow_alone_leads_on_from_a_layer_with_several_outputs() -> None:
    graph = Graph()
    data = graph.add("data", "caffe.Input").output
    slice_ = graph.add("slice", "caffe.Slice", [data], ["left", "right"])
    graph.add("relu", "caffe.ReLU", [slice_.outputs[1]])
    assert matched(graph, "Slice => ReLU") == ["slice relu"]
    found = find_matches(parse_pattern("Slice -> ReLU"), graph)
    assert [miss.reason for miss in found.misses] == ["`slice` has 2 outputs"]


CHAIN = ("Convolution", "BatchNorm", "Scale", "Scale", "ReLU", "Power", "Power", "Dropout")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("ReLU", ["relu"]),
        ("caffe.ReLU", ["relu"]),
        ("onnx.ReLU", []),
        ("BatchNorm|Scale", ["batchnorm", "scale", "scale_1"]),
        ("Scale+", ["scale scale_1"]),
        ("Scale -> Scale", ["scale scale_1"]),
        ("BatchNorm -> Scale* -> ReLU", ["batchnorm scale scale_1 relu"]),
        ("linear -> BatchNorm -> ReLU*", ["convolution batchnorm"]),
        ("_ -> ReLU -> _", ["scale_1 relu power"]),
        ("_+", ["data convolution batchnorm scale scale_1 relu power power_1 dropout"]),
        ("affine & !(Scale|Power)", ["batchnorm"]),
        ("activation & !(ReLU|Swish)", ["power", "power_1"]),
        ("!affine -> affine", ["convolution batchnorm", "relu power"]),
        ("(BatchNorm -> Scale)|ReLU", ["batchnorm scale", "relu"]),
        ("BatchNorm -> (Scale -> ReLU | Scale) -> _", ["batchnorm scale scale_1 relu"]),
        ("(_ -> Scale)+", ["batchnorm scale"]),
        ("source -> linear", ["data convolution"]),
        ("identity", ["dropout"]),
        ("quantizable & linear", ["convolution"]),
        ("custom", []),
    ],
)
def test_what_a_pattern_matches_in_a_chain(pattern: str, expected: list[str]) -> None:
    assert matched(graph_of(*CHAIN), pattern) == expected


def test_a_layer_type_of_its_own_is_custom_and_can_be_named() -> None:
    graph = graph_of("Warp", "ReLU", "swirl")
    assert matched(graph, "custom") == ["warp", "swirl"]
    assert matched(graph, "Warp -> ReLU -> caffe.swirl") == ["warp relu swirl"]
    graph.add("strange", "elsewhere.Strange", [graph.outputs[0]])
    assert matched(graph, "custom|linear|Strange") == ["warp", "swirl", "strange"]


def test_what_is_named_can_be_had_by_its_name() -> None:
    match = only_match(graph_of("Convolution", "Scale", "Scale"), "conv:linear -> bn:BatchNorm? -> scales:Scale+")
    assert match["conv"] is match.first and match["bn"] is None
    assert match.all("bn") == () and match.all("scales") == match.rest
    assert match["scales"] is match.nodes[1] and match.last is match.nodes[2]
    with pytest.raises(KeyError):
        match["scale"]


def test_of_two_steps_that_fit_the_earlier_one_takes_the_layer() -> None:
    graph = graph_of("ReLU", "Scale", "Scale", "Scale")
    match = only_match(graph, "ReLU -> a:Scale? -> b:Scale* -> c:Scale")
    assert [len(match.all(name)) for name in "abc"] == [1, 1, 1]


def test_a_name_of_a_group_is_that_of_all_its_layers() -> None:
    match = only_match(graph_of("ReLU", "BatchNorm", "Scale"), "ReLU -> both:(BatchNorm -> s:Scale)")
    assert match.all("both") == match.rest and match["s"] is match.last


def test_one_name_may_stand_in_two_alternatives() -> None:
    for type in ("BatchNorm", "Scale"):
        match = only_match(graph_of(type, "ReLU"), "(a:BatchNorm -> ReLU)|(a:Scale -> ReLU)")
        assert match["a"] is match.first


def power(name: str, **fields: Plain) -> Graph:
    graph = Graph()
    data = graph.add("data", "caffe.Input").output
    graph.add(name, "caffe.Power", [data], attrs={"power_param": fields} if fields else {})
    return graph


@pytest.mark.parametrize(
    ("predicates", "holds"),
    [
        ("scale=0.1", True),
        ("scale>0.1", False),
        ("scale>=0.1 scale<=0.1", True),
        ("scale<.2, scale>-1e300", True),
        ("power=1", True),
        ("power!=1", False),
        ("shift=0 power=2", False),
        ("power_param.power=1", True),
        ("relu_param.negative_slope=0", False),
        ("power_param.nothing=0", False),
        ("inputs=1 outputs=1", True),
        ("rank=4", False),
    ],
)
def test_predicates_see_attributes_with_their_defaults(predicates: str, holds: bool) -> None:
    assert matched(power("power", scale=0.1), f"Power[{predicates}]") == (["power"] if holds else [])
    assert matched(power("power", scale=0.1), f"activation[{predicates}]") == (["power"] if holds else [])


def test_the_rank_is_that_of_the_first_output_where_it_is_known() -> None:
    graph = power("power")
    assert matched(graph, "Power[rank!=3]") == []
    graph.node("power").output.shape = (1, 2, 3, 4)
    assert matched(graph, "Power[rank!=3]") == ["power"]


def test_words_texts_truth_and_repeated_fields() -> None:
    graph = Graph()
    data = graph.add("data", "caffe.Input").output
    parameters: dict[str, Plain] = {"num_output": 4, "kernel_size": (1, 1), "bias_term": False}
    value = graph.add("conv", "caffe.Convolution", [data], attrs={"convolution_param": parameters}).output
    value = graph.add("warp", "caffe.Warp", [value], attrs={"warp_param": {"mode": Symbol("WAVE"), "by": "x"}}).output
    value = graph.add("sum", "caffe.Eltwise", [value, data]).output
    graph.add("observe", "quant.Observe", [value], attrs={"bits": 8})
    for pattern in (
        "Convolution[kernel_size=1 bias_term=false engine=DEFAULT group<2]",
        "linear[kernel_size>0]",
    ):
        assert matched(graph, pattern) == ["conv"]
    for pattern in ("Convolution[kernel_size!=1]", "Convolution[pad=0]", "Convolution[pad!=0]", "linear[engine=1]"):
        assert matched(graph, pattern) == []
    assert matched(graph, 'Warp[warp_param.mode=WAVE warp_param.by="x"]') == ["warp"]
    assert matched(graph, "Warp[warp_param.mode=1]") == matched(graph, "Warp[nothing=1]") == []
    assert matched(graph, "Eltwise[operation=SUM inputs>=2]") == ["sum"]
    assert matched(graph, "Observe[bits=8]") == ["observe"]
    assert matched(graph, "!Eltwise[operation=PROD] & !source & !custom & !linear") == ["sum", "observe"]


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("", 1, "ends too early"),
        ("linear ->", 10, "ends too early"),
        ("(A, B", 6, "ends too early"),
        ("a b", 3, "unreadable"),
        ("A -> %", 6, "unreadable"),
        ("linear? -> Scale", 1, "may not be optional"),
        ("Scale*", 1, "may not be optional"),
        ("A -> (B? -> C)", 7, "may not be optional"),
        ("nosuchtrait -> Scale", 1, "the traits are linear, affine"),
        ("Scale -> liner", 10, "did you mean `linear`?"),
        ("Power[powr=1]", 7, "did you mean `power`?"),
        ("(Power|Log)[operation=SUM]", 13, "`Power` and `Log` have no attribute"),
        ("Split[axis=1]", 7, "`Split` has no attribute `axis`; there are inputs, outputs, rank"),
        ("Power[power=SUM]", 7, "is a number"),
        ("Convolution[bias_term=1]", 13, "true or false"),
        ("Convolution[weight_filler=1]", 13, "a message"),
        ("Eltwise[operation=SUMM]", 9, "did you mean `SUM`?"),
        ("Eltwise[operation=1]", 9, "there are PROD, SUM, MAX"),
        ("Eltwise[operation<SUM]", 9, "compares numbers only"),
        ("Warp[flag>=true]", 6, "compares numbers only"),
        ("_[rank=few]", 3, "`rank` is a number"),
        ("A -> (B, C) -> D", 6, "nothing may stand before branches"),
        ("A -> (X | ((B, C) -> D))", 12, "nothing may stand before branches"),
        ("((B, C) -> D)+", 2, "nothing may stand before branches"),
        ("(A, B)", 1, "need a step behind them"),
        ("(A, B) -> C+", 11, "is one layer"),
        ("(A, B) -> (C -> D)", 11, "is one layer"),
        ("(A, B)|C -> D", 1, "branches stand alone"),
        ("(A, B)? -> D", 1, "no name"),
        ("(A, B) -> (C, D) -> E", 11, "nothing may stand before branches"),
        ("(A, B, C, D, E) -> F", 1, "at most 4"),
        ("!(A -> B)", 2, "not a chain"),
        ("A & (B, C) -> D", 5, "not a chain"),
        ("(A -> B)[x=1]", 1, "not a chain"),
        ("x:A -> x:B", 8, "given twice"),
        ("{x:A, _} -> x:B", 13, "given twice"),
        ("x:(x:A -> B)", 4, "given twice"),
        ("a.b:A", 1, "cannot be a name"),
        ("_:A", 1, "cannot be a name"),
        ("(" * 21 + "A" + ")" * 21, 21, "nested too deep"),
        ("A|" * LONGEST_PATTERN + "A", LONGEST_PATTERN + 1, "longer than"),
    ],
)
def test_a_bad_pattern_is_refused_at_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_pattern(text)
    assert words in str(caught.value)
    assert caught.value.column == column


def test_attributes_of_types_that_nobody_describes_are_not_checked() -> None:
    for text in ("Warp[anything=1]", "(Warp|Power)[anything=1]", "linear[anything=1]", "Power[power_param.anything=1]"):
        parse_pattern(text)


_PIECES = st.sampled_from(("Scale", "linear", "x:", "power", "=1", "=SUM", "2.5", "->", "=>", *'_.|&!(){},?*+[]<"$'))


@given(st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=20).map(" ".join)))
def test_any_text_is_a_pattern_or_is_refused(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except PatternError as refused:
        assert 1 <= refused.column <= len(text) + 1
        return
    find_matches(pattern, graph_of("Convolution", "Scale", "Power"))
