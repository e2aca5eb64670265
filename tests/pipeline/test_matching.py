"""Matching agrees with trying everything, joins branches, tells near misses, and takes linear time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.ir import Graph, Node
from amctc.pipeline.matching import find_matches
from amctc.pipeline.pattern import parse_pattern
from tests.calls import calls_of
from tests.pipeline.pattern_oracle import Either, Expression, Layer, Many, Meeting, Row, Way, ways

# -- branches ------------------------------------------------------------------------------------


def diamond(first: str = "left", second: str = "right") -> Graph:
    """data -> conv -> left, data -> relu -> right, sum(first, second)."""
    graph = Graph()
    data = graph.add("data", "caffe.Input").output
    conv = graph.add("conv", "caffe.Convolution", [data]).output
    relu = graph.add("relu", "caffe.ReLU", [data]).output
    ends = {
        "left": graph.add("left", "caffe.Scale", [conv]).output,
        "right": graph.add("right", "caffe.TanH", [relu]).output,
    }
    total = graph.add("sum", "caffe.Eltwise", [ends[first], ends[second]]).output
    graph.outputs = [graph.add("last", "caffe.ReLU", [total]).output]
    return graph


def matched(graph: Graph, pattern: str) -> list[str]:
    return [
        " ".join(node.name for node in match.nodes) for match in find_matches(parse_pattern(pattern), graph).matches
    ]


@pytest.mark.parametrize(
    ("pattern", "expected", "other_way_round"),
    [
        ("(linear -> Scale, _) -> Eltwise", ["conv left right sum"], []),
        ("(_, linear -> Scale) -> Eltwise", [], ["conv left right sum"]),
        ("{linear -> Scale, _} -> Eltwise", ["conv left right sum"], ["conv left right sum"]),
        ("{_, linear -> Scale, .} -> Eltwise", [], []),
        ("(Scale, .) -> Eltwise -> ReLU", ["left sum last"], []),
        ("{Scale, .} -> Eltwise[operation=SUM] -> ReLU", ["left sum last"], ["left sum last"]),
        ("(., .) -> Eltwise", ["sum"], ["sum"]),
        ("{ReLU -> TanH+, linear => Scale?} -> Eltwise", ["conv relu left right sum"], ["conv relu left right sum"]),
        ("((Scale, .) -> Eltwise) | (ReLU -> TanH)", ["relu right", "left sum"], ["relu right"]),
        ("((linear -> Scale, TanH) -> Eltwise) | ReLU", ["conv left right sum", "relu", "last"], ["relu", "last"]),
    ],
)
def test_what_joins_branches(pattern: str, expected: list[str], other_way_round: list[str]) -> None:
    assert matched(diamond(), pattern) == expected
    assert matched(diamond("right", "left"), pattern) == other_way_round


def test_branches_in_any_order_keep_their_names() -> None:
    for graph in (diamond(), diamond("right", "left")):
        (match,) = find_matches(
            parse_pattern("{a:_ -> s:Scale, b:_ -> t:TanH} -> sum:Eltwise -> r:ReLU"), graph
        ).matches
        found = {name: node.name for name in match.named if (node := match[name]) is not None}
        assert found == {"a": "conv", "s": "left", "b": "relu", "t": "right", "sum": "sum", "r": "last"}


def test_branches_may_themselves_join_branches() -> None:
    graph = diamond()
    graph.add("total", "caffe.Concat", [graph.node("last").output, graph.node("data").output])
    graph.outputs = []
    pattern = "({Scale, TanH} -> Eltwise -> ReLU, .) -> Concat"
    assert matched(graph, pattern) == ["left right sum last total"]


def test_a_layer_in_two_branches_is_in_the_match_once() -> None:
    graph = Graph()
    data = graph.add("data", "caffe.Input").output
    conv = graph.add("conv", "caffe.Convolution", [data]).output
    graph.outputs = [graph.add("sum", "caffe.Eltwise", [data, conv]).output]
    (match,) = find_matches(parse_pattern("{x:_, x2:_ => linear} => Eltwise"), graph).matches
    assert [node.name for node in match.nodes] == ["data", "conv", "sum"]
    assert match["x"] is match["x2"] is match.first


def test_a_join_demands_that_nobody_else_reads_its_branches_but_for_the_dot() -> None:
    graph = diamond()
    graph.add("spy", "caffe.ReLU", [graph.node("right").output])
    assert matched(graph, "(Scale, TanH) -> Eltwise") == []
    assert matched(graph, "(Scale, TanH) => Eltwise") == ["left right sum"]
    assert matched(graph, "(Scale, .) -> Eltwise") == ["left sum"]


# -- which matches -------------------------------------------------------------------------------


def test_no_layer_is_in_two_matches_and_those_left_out_are_in_none() -> None:
    graph = Graph()
    value = graph.add("data", "caffe.Input").output
    for number in range(7):
        value = graph.add(f"s{number}", "caffe.Scale", [value]).output
    assert matched(graph, "Scale -> Scale") == ["s0 s1", "s2 s3", "s4 s5"]
    without = {graph.node("s1"), graph.node("s4")}
    found = find_matches(parse_pattern("Scale -> Scale"), graph, without)
    assert [[node.name for node in match.nodes] for match in found.matches] == [["s2", "s3"], ["s5", "s6"]]


def test_a_match_holds_until_a_layer_or_a_link_of_it_is_gone() -> None:
    def change(verb: Callable[[Graph], object]) -> bool:
        graph = diamond()
        (match,) = find_matches(parse_pattern("{Scale, .} -> Eltwise -> ReLU"), graph).matches
        assert match.holds(graph)
        verb(graph)
        return match.holds(graph)

    assert change(lambda graph: graph.bypass(graph.node("right")))
    assert change(lambda graph: graph.bypass(graph.node("conv")))
    assert not change(lambda graph: graph.bypass(graph.node("left")))
    assert not change(lambda graph: graph.add("spy", "caffe.ReLU", [graph.node("left").output]))
    assert not change(lambda graph: graph.outputs.append(graph.node("sum").output))
    assert not change(lambda graph: graph.insert_after(graph.node("sum").output, "between", "caffe.ReLU"))

    def exchanged(graph: Graph) -> None:
        graph.bypass(graph.node("last"))
        graph.add("last", "caffe.ReLU", [graph.node("sum").output])

    assert not change(exchanged)


# -- near misses ---------------------------------------------------------------------------------


def misses(graph: Graph, pattern: str) -> list[tuple[str, str]]:
    return [(miss.node.name, miss.reason) for miss in find_matches(parse_pattern(pattern), graph).misses]


def test_a_value_that_others_read_is_a_near_miss() -> None:
    graph = diamond()
    graph.add("spy", "caffe.ReLU", [graph.node("left").output])
    graph.outputs.append(graph.node("conv").output)
    pattern = "linear -> Scale -> ReLU?"
    assert misses(graph, pattern) == [("conv", "`conv` is an output of the network")]
    graph.outputs.pop()
    assert matched(graph, pattern) == ["conv left"]
    assert misses(graph, pattern) == [("left", "`left` is read by 2 layers")]
    assert misses(graph, "linear -> BatchNorm") == []


def test_one_reader_that_reads_twice_or_through_another_input_is_a_near_miss() -> None:
    assert misses(diamond("left", "left"), "Scale -> Eltwise") == [("left", "`left` is read 2 times by one layer")]
    assert misses(diamond(), "TanH -> Eltwise") == [("right", "`sum` reads it through its second input")]


def test_a_layer_that_a_pattern_could_go_on_from_in_many_ways_misses_each_reader_once() -> None:
    graph = Graph()
    conv = graph.add("conv", "caffe.Convolution", [graph.add("data", "caffe.Input").output]).output
    for number in range(3):
        graph.add(f"bn{number}", "caffe.BatchNorm", [conv])
    found = misses(graph, "Convolution|linear -> BatchNorm? -> BatchNorm?")
    assert found == [("conv", "`conv` is read by 3 layers")] * 3


def test_a_join_is_a_near_miss_only_where_every_branch_is_there() -> None:
    graph = diamond()
    graph.add("spy", "caffe.ReLU", [graph.node("right").output])
    assert misses(graph, "{TanH, Scale} -> Eltwise") == [("right", "`right` is read by 2 layers")]
    assert misses(graph, "{TanH, ReLU} -> Eltwise") == []


# -- against trying everything -------------------------------------------------------------------

_TYPES = "ABC"


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    graph = Graph()
    values = [graph.add("n0", f"caffe.{draw(st.sampled_from(_TYPES))}").output]
    for number in range(1, draw(st.integers(1, 7))):
        recent = st.sampled_from(values[-2:] if draw(st.booleans()) else values)
        inputs = draw(st.lists(recent, min_size=1, max_size=draw(st.sampled_from([1, 1, 2, 2, 3]))))
        blobs = [f"n{number}"] if draw(st.integers(0, 7)) else [f"n{number}", f"n{number}b"]
        values += graph.add(f"n{number}", f"caffe.{draw(st.sampled_from(_TYPES))}", inputs, blobs).outputs
    graph.outputs = [values[-1], *draw(st.lists(st.sampled_from(values), max_size=1))]
    return graph


_LAYERS = st.sampled_from(["A", "B", "C", "AB", "ABC"]).map(Layer)
_ARROWS = st.sampled_from(["->", "=>"])


def _rows(first: st.SearchStrategy[Expression], rest: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    def row(parts: tuple[Expression, list[tuple[str, Expression]]]) -> Expression:
        return Row((parts[0], *(part for _, part in parts[1])), tuple(arrow for arrow, _ in parts[1]))

    return st.tuples(first, st.lists(st.tuples(_ARROWS, rest), min_size=1, max_size=2)).map(row)


def _signed(part: st.SearchStrategy[Expression], signs: str) -> st.SearchStrategy[Expression]:
    return st.builds(Many, part, st.sampled_from(signs))


def _either(part: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.lists(part, min_size=2, max_size=2).map(lambda parts: Either(tuple(parts)))


_PLAIN = st.one_of(_LAYERS, _signed(_LAYERS, "+"))
_LATER = st.one_of(_LAYERS, _signed(_LAYERS, "?*+"))
_ROW = _rows(_PLAIN, _LATER)
_GROUP = st.one_of(_PLAIN, _ROW, _either(st.one_of(_LAYERS, _ROW)), _signed(_ROW, "+"))
_CHAINS = st.one_of(_GROUP, _rows(_GROUP, st.one_of(_LATER, _signed(_ROW, "?*"), _either(st.one_of(_LAYERS, _ROW)))))
_BRANCH = st.one_of(_LAYERS, _LAYERS, _ROW, st.none())
_BRANCHES = st.one_of(st.tuples(_BRANCH, _BRANCH), st.tuples(_BRANCH, _BRANCH), st.tuples(_BRANCH, _BRANCH, _BRANCH))


def _meetings(ordered: bool | None) -> st.SearchStrategy[Meeting]:
    orders = st.booleans() if ordered is None else st.just(ordered)
    return st.builds(Meeting, _BRANCHES, orders, _ARROWS, st.sampled_from(["AB", "ABC"]).map(Layer))


@st.composite
def meetings(draw: st.DrawFn, ordered: bool | None = None) -> tuple[Graph, Expression]:
    """Branches that meet, perhaps with steps behind them, and a graph that ends where as many values meet."""
    graph, meeting = draw(graphs()), draw(_meetings(ordered))
    count = len(meeting.branches)
    unread = {value: None for node in graph.nodes for value in node.outputs if not graph.uses(value)}
    others = [value for node in graph.nodes for value in node.outputs if value not in unread]
    inputs = draw(st.permutations([*unread, *others, *others, *others][: max(count, 2)]))
    last = graph.add("last", "caffe.A", [*inputs, *inputs][:count])
    graph.outputs = [graph.add("end", "caffe.B", [last.output]).output]
    return graph, draw(st.one_of(st.just(meeting), _rows(st.just(meeting), _LATER)))


def best_ways(part: Expression, graph: Graph) -> dict[Node, set[Way]]:
    """For each layer where a match can end, the best ones: they begin first, and have most steps."""
    found: dict[Node, set[Way]] = {}
    for node in graph.nodes:
        here = ways(part, graph, node)
        rank = min((way.rank(graph) for way in here), default=None)
        if rank is not None and (-rank[1] > 1 or not isinstance(part, Row)):
            found[node] = {way for way in here if way.rank(graph) == rank}
    return found


@given(st.one_of(st.tuples(graphs(), _CHAINS), meetings(ordered=True)))
def test_chains_and_ordered_branches_match_as_trying_everything_does(drawn: tuple[Graph, Expression]) -> None:
    graph, part = drawn
    best = best_ways(part, graph)
    assert all(len(found) == 1 for found in best.values())
    expected: list[set[Node]] = []
    for way in sorted((way for found in best.values() for way in found), key=lambda way: way.rank(graph)):
        if not any(taken & way.nodes for taken in expected):
            expected.append(set(way.nodes))
    found = find_matches(parse_pattern(str(part)), graph)
    assert [set(match.nodes) for match in found.matches] == expected


@given(meetings(ordered=False))
def test_branches_in_any_order_match_in_a_best_way(drawn: tuple[Graph, Expression]) -> None:
    graph, part = drawn
    best = best_ways(part, graph)
    found = find_matches(parse_pattern(str(part)), graph).matches
    taken = {node for match in found for node in match.nodes}
    for match in found:
        assert set(match.nodes) in [way.nodes for way in best[match.last]]
    for node, possible in best.items():
        assert node in {match.last for match in found} or any(way.nodes & taken for way in possible)


@given(st.one_of(st.tuples(graphs(), _CHAINS), meetings()))
def test_matches_are_in_order_and_disjoint_and_hold(drawn: tuple[Graph, Expression]) -> None:
    graph, part = drawn
    found = find_matches(parse_pattern(str(part)), graph)
    places = [[graph.nodes.index(node) for node in match.nodes] for match in found.matches]
    assert all(sorted(place) == place for place in places)
    assert [place[0] for place in places] == sorted(place[0] for place in places)
    assert len({node for match in found.matches for node in match.nodes}) == sum(map(len, places))
    assert all(match.holds(graph) for match in found.matches)


# -- linear time ---------------------------------------------------------------------------------


def chain(length: int) -> Graph:
    graph = Graph()
    value = graph.add("data", "caffe.Input").output
    for number in range(length):
        value = graph.add(f"s{number}", "caffe.Scale", [value]).output
    return graph


def star(length: int) -> Graph:
    graph = Graph()
    value = graph.add("data", "caffe.Input").output
    for number in range(length):
        graph.add(f"s{number}", "caffe.Scale", [value])
    return graph


def comb(length: int) -> Graph:
    """A chain, every layer of which a ReLU and a sum with the first layer read, too."""
    graph = Graph()
    data = value = graph.add("data", "caffe.Input").output
    for number in range(length // 3):
        value = graph.add(f"s{number}", "caffe.Scale", [value]).output
        graph.add(f"r{number}", "caffe.ReLU", [value])
        graph.add(f"e{number}", "caffe.Eltwise", [value, data])
    return graph


@pytest.mark.parametrize(
    "pattern",
    [
        "Scale+",
        "source -> Scale* -> Scale",
        "Scale => Scale* => ReLU",
        "(source => Scale) | (Scale => Scale* => ReLU)",
        "{_ => Scale*, source} => Eltwise",
        "(ReLU|Scale, _) -> Eltwise",
        "!Scale -> (Scale -> Scale)*",
    ],
)
@pytest.mark.parametrize("graph_of", [chain, star, comb])
def test_matching_takes_time_linear_in_the_graph(pattern: str, graph_of: Callable[[int], Graph]) -> None:
    compiled = parse_pattern(pattern)
    small, large = graph_of(300), graph_of(3000)
    assert small.nodes and large.nodes  # the order is worked out by the graph
    few = calls_of(lambda: find_matches(compiled, small))
    many = calls_of(lambda: find_matches(compiled, large))
    assert many < 11 * few
