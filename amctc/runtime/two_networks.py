"""A float network and its quantized twin, run on the same batches and looked at layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from amctc.ir import Graph, Node, Value
from amctc.runtime.executor import Executor
from amctc.runtime.kept_batches import batches_within

Arrays: TypeAlias = Sequence[NDArray[Any]]
"""One for each batch."""

Settle: TypeAlias = Callable[[str, Arrays, Arrays], Arrays]
"""From the name of a layer, what it reads in the quantized network, and what it gives in the float one: what it is to
give in the quantized network, in the same shapes."""


def settle_layers(
    floats: Graph,
    quantized: Graph,
    names: Collection[str],
    batches: Iterable[Mapping[str, ArrayLike]],
    most_bytes: int,
    settle: Settle,
) -> int:
    """Call `settle` for each of these layers of one input, in the order of the graphs, and say how many batches it got.

    The networks have the same layers, and each of those that are named is looked at when those before it have been
    settled: what they are to give is what the quantized network goes on with. It is one run over the data, each
    part of the two networks on all batches before the next; the activations that are still to be read are kept, for as
    many of the first batches as take `most_bytes` together, and at least one. Raises as `Executor.run` does.
    """
    layers = [node for node in floats.nodes if node.name in names]
    twins = [quantized.node(node.name) for node in layers]
    teacher = Executor(floats, fetch=[node.output for node in layers], apart=layers)
    pupil = Executor(quantized, fetch=_once([*_read(twins), *(node.output for node in twins)]), apart=twins)
    kept = batches_within(lambda shapes: teacher.bytes_alive(shapes) + pupil.bytes_alive(shapes), batches, most_bytes)
    if not kept:
        return 0
    wanted = _Shown(teacher, kept)
    for values, alive in pupil.steps_together(kept):
        for value in values:
            node = value.producer
            if node.name not in names:
                continue
            (source,) = node.inputs
            made = settle(node.name, [arrays[source] for arrays in alive], wanted.of(node.name))
            for arrays, array in zip(alive, made, strict=True):
                arrays[value] = array
    return len(kept)


class _Shown:
    """What the layers of a network give, run as far as it is asked for."""

    def __init__(self, executor: Executor, batches: Sequence[Mapping[str, NDArray[np.generic]]]) -> None:
        self._steps = executor.steps_together(batches)
        self._waiting: dict[str, list[NDArray[Any]]] = {}

    def of(self, name: str) -> list[NDArray[Any]]:
        """The output of a layer in each batch; each is given once."""
        while name not in self._waiting:
            values, alive = next(self._steps)
            for value in values:
                self._waiting[value.producer.name] = [arrays[value] for arrays in alive]
        return self._waiting.pop(name)


def _read(nodes: Iterable[Node]) -> list[Value]:
    return [node.inputs[0] for node in nodes]


def _once(values: Iterable[Value]) -> list[Value]:
    return list(dict.fromkeys(values))
