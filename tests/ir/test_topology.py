"""Edges, orders and cycles, without the nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.ir.topology import Cyclic, Topology

Edges = list[tuple[int, int]]


def made(edges: Edges, count: int) -> Topology:
    """Nodes `0` … `count - 1`; the inputs of each are numbered in the order of `edges`."""
    topology = Topology()
    for number in range(count):
        topology.add_node(str(number))
    for source, reader in edges:
        topology.connect(str(source), 0, str(reader), len(topology.edges_into(str(reader))))
    return topology


def by_number(name: str) -> tuple[int, int]:
    return int(name), 0


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=16))
def test_there_is_an_order_or_a_cycle(edges: Edges) -> None:
    topology = made(edges, 8)
    cycle = topology.find_cycle()
    if cycle:
        pairs = zip(cycle, [*cycle[1:], cycle[0]], strict=True)
        assert all((int(source), int(reader)) in edges for source, reader in pairs)
        assert len(set(cycle)) == len(cycle)
        with pytest.raises(Cyclic):
            topology.ordered(by_number)
        return
    places = {name: place for place, name in enumerate(topology.ordered(by_number))}
    assert len(places) == 8
    assert all(places[str(source)] < places[str(reader)] for source, reader in edges)


def test_of_the_nodes_that_may_come_next_the_order_takes_the_one_of_the_lowest_rank() -> None:
    assert made([(5, 0), (4, 1)], 6).ordered(by_number) == ["2", "3", "4", "1", "5", "0"]


def test_both_ends_of_an_edge_know_it_until_it_is_cut() -> None:
    topology = made([(0, 2), (0, 2), (1, 2)], 3)
    assert topology.edges_into("2") == [(0, "0", 0), (1, "0", 0), (2, "1", 0)]
    assert list(topology.edges_from("0")) == [(0, "2", 0), (0, "2", 1)]
    topology.disconnect("2", 0)
    assert topology.edges_into("2") == [(1, "0", 0), (2, "1", 0)]
    assert topology.is_read("0")
    topology.remove_node("2")
    assert not topology.is_read("0")
    assert not topology.is_read("1")
    assert len(topology) == 2


def test_an_input_reads_one_output() -> None:
    topology = made([(0, 1)], 3)
    with pytest.raises(ValueError, match="input 0 of '1' is connected already"):
        topology.connect("2", 0, "1", 0)
