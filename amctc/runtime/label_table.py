"""Labels out of a `.csv` file, in sample order or matched to the names of image files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from amctc.diagnostics import Collector, Diagnostic, Label, error
from amctc.source import SourceFile, Span
from amctc.text.files import read_text

_MOST_TOLD = 20


@dataclass(frozen=True)
class _Row:
    cells: tuple[str, ...]
    span: Span


def read_label_table(path: Path, images: Sequence[str] | None) -> NDArray[np.int64]:
    """The labels of a `.csv` file as int64 [samples].

    `images` are the paths of the image files, in sample order, or None. Raises `DiagnosticError`:
    AM462 a label that is not a whole number of 0 or more, AM463 an image without a row or two with
    the same, AM464 columns or rows that cannot be understood, AM100, AM102 and AM105 as `read_text`.
    """
    source = read_text(path)
    rows = list(_rows(source))
    if not rows:
        raise error("AM464", f"`{path}` holds no labels", file=str(path))
    head = [cell.lower() for cell in rows[0].cells]
    if len(head) == 1 and head != ["label"]:
        body = rows if _is_whole(rows[0].cells[0]) else rows[1:]
        return _in_order(body, 0, 1)
    if "label" not in head:
        raise error(
            "AM464",
            "a .csv of several columns needs a first row with `label`, and `file` to match images",
            rows[0].span,
        )
    column = head.index("label")
    if "file" not in head:
        return _in_order(rows[1:], column, len(head))
    if images is None:
        raise error(
            "AM464",
            "the labels are by file name, but the data are not image files",
            rows[0].span,
            help="give a .csv without a `file` column, in the order of the samples",
        )
    return _by_name(rows[1:], head.index("file"), column, len(head), images, source)


def _rows(source: SourceFile) -> Iterator[_Row]:
    """The rows that are not blank; each points at its last line."""
    reader = csv.reader(io.StringIO(source.text, newline="\n"), strict=True)
    try:
        for cells in reader:
            stripped = tuple(cell.strip() for cell in cells)
            if any(stripped):
                yield _Row(stripped, _line(source, reader.line_num))
    except csv.Error as problem:
        raise error("AM464", f"this is not comma-separated text: {problem}", _line(source, reader.line_num)) from None


def _line(source: SourceFile, number: int) -> Span:
    starts = source.line_starts
    start = starts[min(max(number, 1), len(starts)) - 1]
    return source.span(start, start + len(source.line(number)))


def _in_order(rows: list[_Row], column: int, columns: int) -> NDArray[np.int64]:
    collector = Collector()
    labels = [_label(row, column, columns, collector) for row in rows]
    collector.raise_errors()
    return np.array(labels, np.int64)


def _by_name(
    rows: list[_Row], file: int, column: int, columns: int, images: Sequence[str], source: SourceFile
) -> NDArray[np.int64]:
    collector = Collector()
    known: dict[str, tuple[int, _Row]] = {}
    for row in rows:
        label = _label(row, column, columns, collector)
        if len(row.cells) != columns:
            continue
        name = PurePosixPath(row.cells[file].replace("\\", "/")).as_posix()
        first = known.setdefault(name, (label, row))
        if first[0] != label and len(collector.diagnostics) < _MOST_TOLD:
            related = (Label(first[1].span, "the other row"),)
            message = f"file `{name}` has two rows with different labels"
            collector.add(Diagnostic("AM463", message, span=row.span, related=related))
    collector.raise_errors()
    return _match(known, images, source)


def _match(known: dict[str, tuple[int, _Row]], images: Sequence[str], source: SourceFile) -> NDArray[np.int64]:
    taken: dict[str, str] = {}
    labels: list[int] = []
    missing: list[str] = []
    for image in images:
        name = _key(image, known)
        if name is None:
            missing.append(image)
            continue
        label, row = known[name]
        if taken.setdefault(name, image) != image:
            raise error(
                "AM463",
                f"the row of `{name}` is meant for both `{taken[name]}` and `{image}`",
                row.span,
                help="write more of the path into the `file` column",
            )
        labels.append(label)
    if missing:
        shown = ", ".join(f"`{image}`" for image in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        words = "image has" if len(missing) == 1 else "images have"
        raise error("AM463", f"{len(missing)} {words} no row: {shown}{more}", file=source.name)
    return np.array(labels, np.int64)


def _key(image: str, known: dict[str, tuple[int, _Row]]) -> str | None:
    """The longest tail of an image's path that has a row."""
    parts = PurePosixPath(image).parts
    tails = ("/".join(parts[start:]) for start in range(1 if parts[0] == "/" else 0, len(parts)))
    if image in known:
        return image
    return next((tail for tail in tails if tail in known), None)


def _label(row: _Row, column: int, columns: int, collector: Collector) -> int:
    """The label of a row; its mistakes are gathered, and 0 stands in."""
    mistake: Diagnostic | None = None
    if len(row.cells) != columns:
        found = f"{len(row.cells)} column{'s' if len(row.cells) != 1 else ''}"
        mistake = Diagnostic("AM464", f"this row has {found}, the first has {columns}", span=row.span)
    elif not _is_whole(row.cells[column]):
        message = f"label `{row.cells[column][:40]}` is not a whole number of 0 or more"
        mistake = Diagnostic("AM462", message, span=row.span)
    if mistake is None:
        return int(row.cells[column])
    if len(collector.diagnostics) < _MOST_TOLD:
        collector.add(mistake)
    return 0


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"[0-9]{1,15}", cell) is not None
