"""Samples out of a Python iterable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import error
from amctc.runtime.samples import (
    Batch,
    SampleShape,
    check_type,
    missing_input,
    prepare,
    shape_text,
)

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess


class IterableSource:
    """A Python iterable of arrays, or of dicts of them by input name; an item is a sample or a batch.

    An item whose rank is that of the input's declared shape is a batch [samples, …]; with one axis
    less it is a sample. Where the first axes of the inputs are no common batch axis, an item is one
    sample with these axes, of any lengths. An iterator can be read only once; anything else is asked anew each time.
    """

    def __init__(
        self,
        items: Iterable[Any],
        shapes: Mapping[str, SampleShape],
        preprocess: Preprocess | None = None,
        picked: Sequence[int] | None = None,
    ) -> None:
        self.items = items
        self.shapes = shapes
        self.preprocess = preprocess
        self.picked = picked
        """The numbers of the samples that count, which ascend; None for all."""
        self.spent = False
        self.own_first_axes = any(shape.rows > 1 for shape in shapes.values())
        # Looking at the shapes of a list is cheap; anything else might compute its items.
        self.count: int | None = self._count(items) if isinstance(items, list | tuple) and picked is None else None
        if picked is not None:
            self.count = len(picked)

    def pick(self, numbers: Sequence[int]) -> IterableSource:
        before = self.picked
        picked = tuple(numbers) if before is None else tuple(before[number] for number in numbers)
        return IterableSource(self.items, self.shapes, self.preprocess, picked)

    def batches(self, start: int, stop: int | None, size: int) -> Iterator[Batch]:
        held: list[Batch] = []
        numbers: list[int] = []
        for number, sample in self._chosen(start, stop):
            if held:
                for name, array in sample.items():
                    drop = int(self.own_first_axes)
                    self._check_alike(number, name, held[0][name].shape[drop:], array.shape[drop:])
            held.append(sample)
            numbers.append(number)
            if len(held) == size:
                yield self._joined(held, numbers)
                held, numbers = [], []
        if held:
            yield self._joined(held, numbers)

    def samples_in(self, batch: Batch) -> int:
        name, array = next(iter(batch.items()))
        return max(1, len(array) // self.shapes[name].rows)

    def _joined(self, held: list[Batch], numbers: Sequence[int]) -> Batch:
        join = np.concatenate if self.own_first_axes else np.stack
        batch = {name: join([sample[name] for sample in held]) for name in self.shapes}
        return prepare(batch, self.preprocess, numbers)

    def _chosen(self, start: int, stop: int | None) -> Iterator[tuple[int, Batch]]:
        """The samples from `start` up to `stop` (excluded) of those that count, with their numbers among all."""
        if self.picked is None:
            yield from enumerate(self._samples(start, stop), start=start)
            return
        wanted = self.picked[start:stop]
        if wanted:
            chosen = frozenset(wanted)
            samples = enumerate(self._samples(wanted[0], wanted[-1] + 1), start=wanted[0])
            yield from ((number, sample) for number, sample in samples if number in chosen)

    def _samples(self, start: int, stop: int | None) -> Iterator[Batch]:
        number = 0
        if stop is not None and stop <= start:
            return
        for item in self._fresh():
            arrays = self._arrays(item, number)
            count = self._common_count(arrays, number)
            for row in range(1 if count is None else count):
                if number >= start:
                    yield {name: self._numbers(name, a if count is None else a[row]) for name, a in arrays.items()}
                number += 1
                # Asked before the next item is taken, so that an iterator is not read past `stop`.
                if stop is not None and number >= stop:
                    return

    def _numbers(self, name: str, sample: NDArray[Any]) -> NDArray[Any]:
        images = self.preprocess is not None and (len(self.shapes) == 1 or sample.ndim == 3)
        return self.shapes[name].numbers(sample, images)

    def _fresh(self) -> Iterator[Any]:
        iterator = iter(self.items)
        if iterator is self.items:
            if self.spent:
                raise error(
                    "AM446",
                    "the data come from an iterator, which can be read only once, and it has been read",
                    help="give a list, or an object whose `__iter__` starts anew",
                )
            self.spent = True
        return iterator

    def _arrays(self, item: Any, number: int) -> dict[str, NDArray[Any]]:
        if isinstance(item, Mapping):
            present = tuple(str(key) for key in item)
            for name in self.shapes:
                if name not in item:
                    help = f"sample {number}: give one array for each input"
                    raise missing_input(name, present, None, help)
            arrays = {name: np.asarray(item[name]) for name in self.shapes}
        elif len(self.shapes) == 1:
            arrays = {next(iter(self.shapes)): np.asarray(item)}
        else:
            names = ", ".join(f"`{name}`" for name in self.shapes)
            raise error("AM400", f"sample {number} is a single array, the model has the inputs {names}",
                        help="give a dict by input name")  # fmt: skip
        for name, array in arrays.items():
            check_type(array, f"sample {number} of input `{name}`")
        return arrays

    def _common_count(self, arrays: Mapping[str, NDArray[Any]], number: int) -> int | None:
        """How many samples an item holds, or None where the whole item is one."""
        counts = {name: self._samples_in(name, array, number) for name, array in arrays.items()}
        if self.own_first_axes:
            for name, count in counts.items():
                if count is None and self.shapes[name].sides is not None:
                    message = (
                        f"sample {number} of input `{name}` is {shape_text(arrays[name].shape)}, without its first axis"
                    )
                    help = "the first axes of the inputs differ, so that each item must have them"
                    raise error("AM402", message, help=help)
            return None
        if len(set(counts.values())) > 1:
            words = ", ".join(f"`{name}` has {count or 'one'}" for name, count in counts.items())
            raise error("AM443", f"from sample {number} on the inputs differ in their number of samples: {words}")
        return next(iter(counts.values()))

    def _samples_in(self, name: str, array: NDArray[Any], number: int) -> int | None:
        """How many samples an item holds, or None for a sample that has no batch axis."""
        shape = self.shapes[name]
        batched = shape.sides is not None and array.ndim == len(shape.sides) + 1
        shape.check(array.shape[1:] if batched else array.shape, f"sample {number} has")
        return array.shape[0] if batched else None

    def _check_alike(self, number: int, name: str, first: tuple[int, ...], shape: tuple[int, ...]) -> None:
        if first != shape:
            message = f"sample {number} of input `{name}` is {shape_text(shape)}, those before it {shape_text(first)}"
            raise error("AM402", message)

    def _count(self, items: list[Any] | tuple[Any, ...]) -> int:
        count = 0
        for item in items:
            name, array = next(iter(self._arrays(item, count).items()))
            found = None if self.own_first_axes else self._samples_in(name, array, count)
            count += 1 if found is None else found
        return count
