"""The shapes and values of samples: what a network's input takes, and what is wrong with what was given."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError, error
from amctc.runtime.arrays import number_type_error
from amctc.runtime.conversion import Unfit, converted

if TYPE_CHECKING:
    from amctc.runtime.preprocess import Preprocess

Floats = NDArray[np.float32]
Batch = dict[str, NDArray[Any]]
"""For each input float32, or the input's own type where that is none of float32's numbers."""


_WIDER = frozenset({"int32", "uint32", "int64", "uint64", "float64"})
"""Element types with numbers that float32 does not hold."""


@dataclass(frozen=True)
class SampleShape:
    """The shape of one sample of an input, without the batch axis.

    A side of 0 or less is free. `sides` None means that the model states no shape. `rows` is how much
    of the array's first axis one sample takes, see `sample_rows`. `dtype` is the element type of the input, `stored`
    that of the numbers in a `.bin` file.
    """

    input: str
    sides: tuple[int, ...] | None
    rows: int = 1
    dtype: str = "float32"
    stored: str = "float32"

    @staticmethod
    def of_input(
        name: str, declared: tuple[int, ...], free: bool = False, rows: int = 1, dtype: str = "float32"
    ) -> SampleShape:
        """From the declared shape of an input, batch axis included; `free` keeps only the rank."""
        if not declared:
            return SampleShape(name, None, rows, dtype)
        return SampleShape(name, tuple(0 if free else side for side in declared[1:]), rows, dtype)

    def numbers(
        self, array: NDArray[Any], images: bool = False, *, owned: bool = False, file: str | None = None
    ) -> NDArray[Any]:
        """A copy that a batch may hold, or the array itself if it is `owned` and fits.

        Of the input's own type where float32 would lose numbers, else of float32. Steps for `images` work on float32.
        What that cannot hold becomes infinite, and `check_finite` tells it. Raises `DiagnosticError` (AM442), with the
        `file`, for numbers that the input's type does not hold.
        """
        if images or self.dtype not in _WIDER:
            return to_floats(array, owned)
        try:
            found = converted(array, self.dtype)
            return np.asarray(found, order="C") if owned else np.array(found, order="C")
        except Unfit as mistake:
            raise error("AM442", f"the data for the input `{self.input}` {mistake}", file=file) from None

    @property
    def is_fixed(self) -> bool:
        return self.sides is not None and all(side > 0 for side in self.sides)

    def fits(self, shape: tuple[int, ...]) -> bool:
        if self.sides is None:
            return True
        return len(self.sides) == len(shape) and all(
            side <= 0 or side == found for side, found in zip(self.sides, shape, strict=True)
        )

    def check(self, shape: tuple[int, ...], what: str, file: str | None = None, help: str | None = None) -> None:
        """Raise `DiagnosticError` (AM402) with the expected and the found shape if they differ."""
        if self.fits(shape):
            return
        message = f"input `{self.input}` takes samples of shape {self}, {what} {shape_text(shape)}"
        raise error("AM402", message, file=file, help=help)

    def __str__(self) -> str:
        return shape_text(self.sides or ())


def sample_rows(declared: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Rows of each input that make one sample, for the declared shapes of the inputs, batch axis included.

    One, unless inputs declare different first dimensions, such as an image and its 300 regions, or the time
    steps and the static input of an LSTM. Then these axes are no common batch axis, and one sample is
    what the model declares of each.
    """
    firsts = {shape[0] for shape in declared.values() if shape}
    if len(firsts) < 2 or min(firsts) < 1:
        return dict.fromkeys(declared, 1)
    return {name: shape[0] if shape else 1 for name, shape in declared.items()}


def shape_text(sides: tuple[int, ...]) -> str:
    """A shape as in Python, free sides as `?`."""
    words = [str(side) if side > 0 else "?" for side in sides]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def to_floats(array: NDArray[Any], owned: bool = False) -> Floats:
    """A float32 copy, or the array itself if it is `owned` and float32.

    What float32 cannot hold becomes infinite, and `check_finite` tells it.
    """
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float32, order="C") if owned else np.array(array, np.float32, order="C")


def check_type(array: NDArray[Any], what: str, file: str | None = None) -> None:
    """Raise `DiagnosticError` (AM442) for anything but booleans, integers and floats."""
    problem = number_type_error(array.dtype, what, file)
    if problem is not None:
        raise problem


@dataclass(frozen=True)
class Place:
    """Where a sample lies: words that go after its number in a message, and its file."""

    words: str = ""
    file: str | None = None


def check_finite(
    batch: NDArray[Any], input: str, numbers: Sequence[int], place: Callable[[int], Place] = lambda number: Place()
) -> None:
    """Raise `DiagnosticError` (AM404) that names the sample if a batch [rows, …] holds NaN or Inf.

    `numbers` are those of the batch's samples in the whole data set, counted from 0; `place` tells where one lies.
    """
    if np.isfinite(batch).all():
        return
    bad = np.argwhere(~np.isfinite(batch))[0]
    value = float(batch[tuple(bad)])
    sample = numbers[int(bad[0]) * len(numbers) // len(batch)]
    found = place(sample)
    raise error(
        "AM404",
        f"sample {sample} of input `{input}`{found.words} holds {value} as float32",
        file=found.file,
        help="samples are counted from 0; mend or remove it",
    )


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as the first and the end (excluded) of each run without a gap."""
    if isinstance(numbers, range):
        yield numbers.start, numbers.stop
        return
    first = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[first], numbers[index - 1] + 1
            first = index


def is_image(ndim: int, inputs: int) -> bool:
    """Whether an array [samples, …] of so many axes is what preprocessing works on, in a model of so many inputs."""
    return inputs == 1 or ndim == 4


def prepare(
    batch: Batch,
    preprocess: Preprocess | None,
    numbers: Sequence[int],
    place: Callable[[int], Place] = lambda number: Place(),
) -> Batch:
    """Preprocess a batch of arrays in place and check that it is finite, as `check_finite` does.

    With one input it is preprocessed whatever it is; with several, those of rank 4 are the images.
    """
    prepared: Batch = {}
    for name, floats in batch.items():
        images = is_image(floats.ndim, len(batch))
        prepared[name] = preprocess.batch_array(floats) if preprocess is not None and images else floats
        check_finite(prepared[name], name, numbers, place)
    return prepared


def common_count(lengths: Mapping[str, int], shapes: Mapping[str, SampleShape], file: str | None = None) -> int:
    """The number of samples that all inputs share, for the lengths of their first axes.

    Where one input of several rows a sample has just one sample, there is one, however long the others are.
    Raises AM443 where the inputs differ and AM440 for none.
    """
    if min(lengths.values()) == 0:
        raise error("AM440", "the data hold no samples", file=file)
    several = any(shape.rows > 1 for shape in shapes.values())
    if several and any(length == shapes[name].rows for name, length in lengths.items()):
        return 1
    if several and any(length % shapes[name].rows for name, length in lengths.items()):
        words = ", ".join(
            f"`{name}` has {length} rows, {shapes[name].rows} a sample" for name, length in lengths.items()
        )
        message = f"the inputs do not hold whole samples: {words}"
        advice = "one sample is what the model declares of each input; from Python, batches of any size can be given"
        raise error("AM443", message, file=file, help=advice)
    counts = {name: length // shapes[name].rows for name, length in lengths.items()}
    if len(set(counts.values())) > 1:
        words = ", ".join(f"`{name}` has {count}" for name, count in counts.items())
        help = "one sample is what the model declares of each input" if several else None
        raise error("AM443", f"the inputs differ in their number of samples: {words}", file=file, help=help)
    return next(iter(counts.values()))


def sample_bytes(shape: SampleShape) -> int:
    """Bytes of one row of a fixed shape in a `.bin` file."""
    return math.prod(shape.sides or ()) * np.dtype(shape.stored).itemsize


def missing_input(name: str, present: tuple[str, ...], file: str | None, help: str) -> DiagnosticError:
    """AM400: the data lack an input of the model."""
    held = ", ".join(f"`{key}`" for key in present[:20]) or "nothing"
    more = f" and {len(present) - 20} more" if len(present) > 20 else ""
    return error("AM400", f"the data lack the input `{name}`; they hold {held}{more}", file=file, help=help)


def check_array_shape(found: tuple[int, ...], shape: SampleShape, file: str | None) -> None:
    """Refuse (AM402) an array whose first axis is not samples, or whose samples do not fit the input."""
    if not found:
        message = f"the array of input `{shape.input}` is a single number; its first axis must be the samples"
        raise error("AM402", message, file=file)
    help = f"the whole array is {shape_text(found)}; its first axis is the samples"
    shape.check(found[1:], "the array holds", file, help)
