"""LMDB databases, read record by record, as Caffe's data layers do it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Final, NamedTuple

from amctc.diagnostics import error

if TYPE_CHECKING:
    import lmdb


_ONE_AT_A_TIME: Final = Lock()
"""A process must not open a database that it has open, and threads may read the same one."""


def require_lmdb() -> ModuleType:
    """The `lmdb` module, or `DiagnosticError` (AM664) that says how to install it."""
    try:
        import lmdb
    except ImportError:
        message = "reading an LMDB needs the package `lmdb`, which is not installed"
        raise error("AM664", message, help="pip install 'amctc[lmdb]'") from None
    return lmdb


class LmdbRecord(NamedTuple):
    """One record of a database."""

    key: bytes
    value: bytes

    @property
    def name(self) -> str:
        """The key as text for messages, cut where it is long."""
        text = self.key[:64].decode("ascii", "backslashreplace")
        return text if text.isprintable() else self.key[:64].hex()


class LmdbRecords:
    """The records of one database in the order of their keys, and after the last the first again.

    `path` is the folder of an LMDB, or its data file. The database is open only while records are taken, so that
    other code of the process may open it in between. It is never locked and never written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._last: bytes | None = None
        """The key of the record that was taken last."""
        self._place = 0
        """How many records have been taken or passed over, counting on from round to round."""

    def __len__(self) -> int:
        """How many records there are. Raises as `take` does."""
        with self._opened() as database:
            return int(database.stat()["entries"])

    def first(self) -> LmdbRecord:
        """The first record, without taking it. Raises as `take` does."""
        with self._opened() as database, database.begin() as transaction:
            cursor = transaction.cursor()
            self._need(cursor.first())
            return LmdbRecord(bytes(cursor.key()), bytes(cursor.value()))

    def go_to(self, place: int) -> None:
        """Let the next record taken be that of a place, counted on from round to round. Raises as `take` does.

        Only the keys in between are read; nothing is where the place has been reached by taking records.
        """
        if place == self._place:
            return
        with self._opened() as database, database.begin() as transaction:
            count = int(database.stat()["entries"])
            cursor = transaction.cursor()
            self._need(cursor.first())
            behind = place % count
            self._last = None
            for _ in range(behind - 1):
                cursor.next()
            if behind:
                self._last = bytes(cursor.key())
        self._place = place

    def take(self, count: int) -> list[LmdbRecord]:
        """The next `count` records, which are all that is held.

        Raises `DiagnosticError`: AM663 for a database that cannot be read or is empty, AM664 without the package.
        """
        taken: list[LmdbRecord] = []
        with self._opened() as database, database.begin() as transaction:
            cursor = transaction.cursor()
            there = self._last is not None and cursor.set_range(self._last)
            if there and cursor.key() == self._last:
                there = cursor.next()
            last = self._last
            while len(taken) < count:
                if not there:
                    self._need(cursor.first())
                last = bytes(cursor.key())
                taken.append(LmdbRecord(last, bytes(cursor.value())))
                there = cursor.next()
        self._last = last
        self._place += count
        return taken

    def _need(self, there: bool) -> None:
        if not there:
            raise error("AM663", f"the LMDB `{self.path}` has no records", file=self.path)

    @contextmanager
    def _opened(self) -> Generator[lmdb.Environment]:
        require_lmdb()
        import lmdb

        place = Path(self.path)
        data = place / "data.mdb" if place.is_dir() else place
        if not data.is_file():
            help = "an LMDB is a folder with a file `data.mdb` in it; relative paths start at the working directory"
            raise error("AM663", f"there is no LMDB `{self.path}`", file=self.path, help=help)
        try:
            with (
                _ONE_AT_A_TIME,
                lmdb.open(self.path, readonly=True, lock=False, readahead=False, subdir=place.is_dir()) as database,
            ):
                yield database
        except lmdb.Error as problem:
            how = "close it before the net reads it" if "already open" in str(problem) else None
            reason = str(problem).removeprefix(f"{self.path}: ").rstrip(".")
            message = f"the LMDB `{self.path}` cannot be read: {reason[:1].lower()}{reason[1:]}"
            raise error("AM663", message, file=self.path, help=how) from None
