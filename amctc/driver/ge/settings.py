"""What the keys of `aclgrphCalibration` say, as values; nothing here looks at a graph."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, did_you_mean
from amctc.driver.ge.keys import KEYS, read_keys
from amctc.driver.ge.soc import SOC_VERSIONS
from amctc.driver.ge.texts import Entry, StatedShape, entries, read_shapes
from amctc.source import SourceFile

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
InputFormat: TypeAlias = Literal["NCHW", "NHWC", "ND"]

LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")
USUAL_LEVEL: Final[LogLevel] = "info"
INPUT_FORMATS: Final[tuple[InputFormat, ...]] = ("NCHW", "NHWC", "ND")

_LARGEST_PORT: Final = 65535
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "DEVICE_ID": (0, 2**31 - 1),
    "infer_aicore_num": (1, 2**31 - 1),
    "PORT": (1, _LARGEST_PORT),
    "GROUP_ID": (0, 3),
}
"""The least and the largest value of keys that are whole numbers."""


@dataclass(frozen=True)
class GeSettings:
    """The keys' values. `data` are the entries of INPUT_DATA_DIR, `shapes` those of INPUT_SHAPE in their order.

    `notes` are what is to be said of keys that are checked and have no effect.
    """

    data: tuple[Entry, ...]
    shapes: Mapping[str, StatedShape]
    soc_version: str
    input_format: InputFormat | None = None
    half_inputs: tuple[Entry, ...] = ()
    config_file: Path | None = None
    log_level: LogLevel = USUAL_LEVEL
    outputs: tuple[Entry, ...] = ()
    aipp_file: Path | None = None
    notes: tuple[str, ...] = ()


def read_settings(given: Iterable[tuple[object, object]], collector: Collector) -> GeSettings:
    """The settings of keys with their texts.

    Raises `DiagnosticError` with everything that is wrong: AM880 and AM881 about the keys, AM882 and AM883 about their
    values. Warnings (AM888) go to the collector.
    """
    own = Collector()
    texts = read_keys(given, own)
    reader = _Reader(texts, own)
    shape = texts.get("INPUT_SHAPE")
    settings = GeSettings(
        data=reader.several("INPUT_DATA_DIR", ","),
        shapes=_shapes(shape, own) if shape is not None else {},
        soc_version=reader.word("SOC_VERSION", SOC_VERSIONS) or "",
        input_format=cast("InputFormat | None", reader.word("INPUT_FORMAT", INPUT_FORMATS)),
        half_inputs=reader.several("INPUT_FP16_NODES", ";"),
        config_file=reader.path("CONFIG_FILE"),
        log_level=cast("LogLevel", reader.word("LOG_LEVEL", LOG_LEVELS, lower=True) or USUAL_LEVEL),
        outputs=reader.several("OUT_NODES", ";"),
        aipp_file=reader.path("INSERT_OP_CONF"),
        notes=reader.of_devices(),
    )
    own.raise_errors()
    collector.extend(own.diagnostics)
    return settings


def log_level(given: Iterable[tuple[object, object]]) -> LogLevel:
    """The level that the keys say; the usual one where they say none, or a wrong one."""
    found = next((value for key, value in given if key in KEYS["LOG_LEVEL"].spellings), None)
    word = found.strip().strip('"').lower() if isinstance(found, str) else ""
    known: Mapping[str, LogLevel] = {level: level for level in LOG_LEVELS}
    return known.get(word, USUAL_LEVEL)


def _shapes(source: SourceFile, collector: Collector) -> Mapping[str, StatedShape]:
    try:
        return read_shapes(source, collector)
    except DiagnosticError as mistakes:
        collector.extend(mistakes.diagnostics)
        return {}


class _Reader:
    """Reads values; mistakes go to the collector."""

    def __init__(self, texts: Mapping[str, SourceFile], collector: Collector) -> None:
        self._texts = texts
        self._collector = collector

    def several(self, name: str, separator: str) -> tuple[Entry, ...]:
        source = self._texts.get(name)
        if source is None:
            return ()
        try:
            return entries(source, separator)
        except DiagnosticError as mistakes:
            self._collector.extend(mistakes.diagnostics)
            return ()

    def word(self, name: str, known: Sequence[str], lower: bool = False) -> str | None:
        """One of some words; None where the key is not given, or is none of them."""
        source = self._texts.get(name)
        if source is None:
            return None
        entry = self._whole(source)
        found = entry.text.lower() if lower else entry.text
        if found in known:
            return found
        help = did_you_mean(found[:60], known) or f"one of {', '.join(f'`{each}`' for each in known)}"
        self._wrong(source, entry, "is not known", help)
        return None

    def path(self, name: str) -> Path | None:
        source = self._texts.get(name)
        return Path(self._whole(source).text) if source is not None else None

    def of_devices(self) -> tuple[str, ...]:
        """Check the keys about devices, which have no effect: a note for each, AM888 for those that need a server."""
        notes: list[str] = []
        for name, (least, largest) in _NUMBERS.items():
            source = self._texts.get(name)
            if source is None:
                continue
            entry = self._whole(source)
            digits = entry.text.isascii() and entry.text.isdecimal() and len(entry.text) <= 10
            if not digits or not least <= int(entry.text) <= largest:
                self._wrong(source, entry, "is not such a number", f"give a whole number, {least} to {largest}")
            elif name in ("PORT", "GROUP_ID"):
                self._no_effect(source)
            else:
                notes.append(f"{source.name} has no effect: the graph is run on this machine, without a device")
        address = self._texts.get("IP_ADDR")
        if address is not None:
            entry = self._whole(address)
            try:
                ipaddress.ip_address(entry.text)
            except ValueError:
                self._wrong(address, entry, "is no address", "give an IPv4 or IPv6 address, such as `192.168.0.2`")
            else:
                self._no_effect(address)
        return tuple(notes)

    def _whole(self, source: SourceFile) -> Entry:
        """The text without blanks and quotes around it."""
        text = source.text.strip()
        start = source.text.index(text)
        if len(text) >= 2 and text[0] == text[-1] == '"':
            start, text = start + 1, text[1:-1]
        return Entry(text, source.span(start, start + len(text)))

    def _wrong(self, source: SourceFile, entry: Entry, what: str, help: str) -> None:
        message = f"`{entry.text[:60]}`, the value of `{source.name}`, {what}"
        self._collector.add(Diagnostic("AM882", message, span=entry.span, help=help))

    def _no_effect(self, source: SourceFile) -> None:
        message = f"`{source.name}` has no effect: no server is asked"
        help = "take it out: Atlas A2 and A3 do not support it either"
        self._collector.add(Diagnostic("AM888", message, Level.WARNING, help=help))
