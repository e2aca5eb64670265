"""The fields of one `aipp_op` as it is written, each with its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from amctc.source import Span
from amctc.text.checked import CheckedField, CheckedMessage, ScalarValue

MATRIX: Final = tuple(tuple(f"matrix_r{row}c{column}" for column in range(3)) for row in range(3))
INPUT_BIAS: Final = tuple(f"input_bias_{channel}" for channel in range(3))
OUTPUT_BIAS: Final = tuple(f"output_bias_{channel}" for channel in range(3))
MEAN: Final = tuple(f"mean_chn_{channel}" for channel in range(4))
MINIMUM: Final = tuple(f"min_chn_{channel}" for channel in range(4))
FACTOR: Final = tuple(f"var_reci_chn_{channel}" for channel in range(4))
CROP: Final = ("load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h")
RESIZE: Final = ("resize_output_w", "resize_output_h")
PADDING: Final = ("left_padding_size", "right_padding_size", "top_padding_size", "bottom_padding_size")
SOURCE: Final = ("src_image_size_w", "src_image_size_h")
LISTS: Final = frozenset({"input_edge_idx"})
"""Fields that may have several values; all other repeated ones take one."""


@dataclass(frozen=True)
class Op:
    """What is written in one `aipp_op`; `span` is the place of the word `aipp_op`."""

    message: CheckedMessage
    span: Span

    def written(self, name: str) -> CheckedField | None:
        """The first value of a field; None where none is written, or none that fits the schema."""
        found = self.message.occurrences(name)
        return found[0] if found else None

    def place(self, name: str) -> Span:
        """Where the value of a field stands, or the `aipp_op` where it is not written."""
        found = self.written(name)
        return found.span if found is not None else self.span

    def places(self) -> Mapping[str, Span]:
        """The places of everything that is written, and of the `aipp_op` itself."""
        return {"aipp_op": self.span} | {entry.name: entry.span for entry in reversed(self.message.fields)}

    def _scalar(self, name: str) -> ScalarValue | None:
        found = self.written(name)
        return None if found is None or isinstance(found.value, CheckedMessage) else found.value

    def number(self, name: str, default: float = 0.0) -> float:
        value = self._scalar(name)
        return float(value) if isinstance(value, int | float) else default

    def integer(self, name: str, default: int = 0) -> int:
        value = self._scalar(name)
        return value if isinstance(value, int) else default

    def flag(self, name: str) -> bool:
        return self._scalar(name) is True

    def word(self, name: str) -> str | None:
        """The word of an enum or a text; None where it is not written."""
        value = self._scalar(name)
        return str(value) if isinstance(value, str) else None
