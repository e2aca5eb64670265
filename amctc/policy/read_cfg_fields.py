"""Fields of a checked .cfg message as values with their places."""

from __future__ import annotations

from typing import TypeVar

from amctc.policy.rules_data import DataRule
from amctc.policy.said import Said
from amctc.policy.settings import BITS_OF_TYPE, IFMR_NAME
from amctc.quant.hfmg import HFMG
from amctc.source import Span
from amctc.text.checked import CheckedMessage

T = TypeVar("T", bool, int, float, str)


def said(message: CheckedMessage, name: str, kind: type[T]) -> Said[T] | None:
    """The value of a single scalar field, or None where it is not written or the schema lacks it."""
    entry = message.field(name)
    if entry is None or not isinstance(entry.value, kind):
        return None
    return Said(kind(entry.value), entry.span)  # the name of an enum's value becomes a plain string


def strings(message: CheckedMessage, name: str) -> tuple[Said[str], ...]:
    """All values of a repeated string field."""
    found = message.occurrences(name)
    return tuple(Said(entry.value, entry.span) for entry in found if isinstance(entry.value, str))


def inner(message: CheckedMessage, name: str) -> CheckedMessage | None:
    """The message of a single field, or None where it is not written or the schema lacks it."""
    return message.message(name) if message.has(name) else None


def place(message: CheckedMessage, name: str) -> Span | None:
    """Where a field is named."""
    entry = message.field(name)
    return entry.name_span if entry is not None else None


def chosen(message: CheckedMessage, *names: str) -> tuple[str, CheckedMessage] | None:
    """Which one of the members of a oneof is written, and its message."""
    return next(((name, found) for name in names if (found := inner(message, name)) is not None), None)


def data_rule(config: CheckedMessage) -> DataRule | None:
    """The data rule of a message that has `ifmr_quantize` or `hfmg_quantize`, in any flavour."""
    choice = chosen(config, f"{IFMR_NAME}_quantize", f"{HFMG}_quantize")
    if choice is None:
        return None
    name, message = choice
    asymmetric, dst_type = said(message, "asymmetric", bool), said(message, "dst_type", str)
    bits = said(message, "num_bits", int)
    if dst_type is not None:
        bits = Said(BITS_OF_TYPE[dst_type.value], dst_type.span)
    return DataRule(
        search_range_start=said(message, "search_range_start", float),
        search_range_end=said(message, "search_range_end", float),
        search_step=said(message, "search_step", float),
        max_percentile=said(message, "max_percentile", float),
        min_percentile=said(message, "min_percentile", float),
        num_bits=bits,
        with_offset=asymmetric,
        algorithm=Said(name.removesuffix("_quantize"), place(config, name)),
        num_of_bins=said(message, "num_of_bins", int),
        asymmetric=asymmetric,
        dst_type=dst_type,
        quant_granularity=said(message, "quant_granularity", str),
    )
