"""Who reads what in a graph: edges by the names of nodes, and the orders and cycles that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush


class Cyclic(Exception):
    """Nodes that read each other in a circle have no order."""


class Topology:
    """A directed multigraph: an edge is one use of output number `out` of one node as input number `into` of another.

    Each edge is kept with both of its ends, so that looking at the edges of a node costs as much as it has edges.
    Names that are not there raise KeyError.
    """

    def __init__(self) -> None:
        self._sources: dict[str, dict[int, tuple[str, int]]] = {}
        self._readers: dict[str, dict[tuple[str, int], int]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._sources

    def __len__(self) -> int:
        return len(self._sources)

    def add_node(self, name: str) -> None:
        """A node without edges, which must not be there already."""
        self._sources[name] = {}
        self._readers[name] = {}

    def remove_node(self, name: str) -> None:
        """A node that nobody reads, with the edges into it."""
        for into, (source, _) in self._sources.pop(name).items():
            del self._readers[source][name, into]
        del self._readers[name]

    def connect(self, source: str, out: int, reader: str, into: int) -> None:
        """Let an input read an output; ValueError where it reads one already."""
        if into in self._sources[reader]:
            raise ValueError(f"input {into} of {reader!r} is connected already")
        self._sources[reader][into] = (source, out)
        self._readers[source][reader, into] = out

    def disconnect(self, reader: str, into: int) -> None:
        """Let an input read nothing; it may have read nothing before."""
        if into in self._sources[reader]:
            source, _ = self._sources[reader].pop(into)
            del self._readers[source][reader, into]

    def edges_into(self, name: str) -> list[tuple[int, str, int]]:
        """What a node reads, in order: the number of its input, the name of the producer, its output's number."""
        edges = self._sources[name]
        if len(edges) == 1:  # as most have
            ((into, (source, out)),) = edges.items()
            return [(into, source, out)]
        return [(into, *edges[into]) for into in sorted(edges)]

    def edges_from(self, name: str) -> Iterator[tuple[int, str, int]]:
        """Who reads a node: its output's number, the name of the reader, the number of the reader's input."""
        return ((out, reader, into) for (reader, into), out in self._readers[name].items())

    def sources_of(self, name: str) -> set[str]:
        """The nodes that a node reads."""
        return {source for source, _ in self._sources[name].values()}

    def is_read(self, name: str) -> bool:
        return bool(self._readers[name])

    def ordered(self, rank: Callable[[str], tuple[int, int]]) -> list[str]:
        """All nodes, each behind those that it reads, otherwise by `rank`, which no two share; `Cyclic` for a cycle."""
        missing = {name: len(edges) for name, edges in self._sources.items()}
        ready = [(rank(name), name) for name, count in missing.items() if not count]
        heapify(ready)
        found: list[str] = []
        while ready:
            _, name = heappop(ready)
            found.append(name)
            for reader, _ in self._readers[name]:
                missing[reader] -= 1
                if not missing[reader]:
                    heappush(ready, (rank(reader), reader))
        if len(found) < len(missing):
            raise Cyclic
        return found

    def find_cycle(self) -> list[str]:
        """The nodes of a cycle, each read by the next, and the last by the first; empty where there is none."""
        left = {name: len(edges) for name, edges in self._readers.items()}
        unread = [name for name, count in left.items() if not count]
        while unread:  # what leads to no cycle is read by nobody in the end
            name = unread.pop()
            for source, _ in self._sources[name].values():
                left[source] -= 1
                if not left[source]:
                    unread.append(source)
        inside = {name for name, count in left.items() if count}
        # Each of these is read by another of them: going from reader to reader comes back to where it has been.
        if not inside:
            return []
        at = next(each for each in left if each in inside)
        places: dict[str, int] = {}
        while at not in places:
            places[at] = len(places)
            at = next(reader for reader, _ in self._readers[at] if reader in inside)
        return list(places)[places[at] :]
