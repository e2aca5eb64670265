"""How long work tells how far it is. The command line draws it; a library call is silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told what is being done now, and how much of it is done."""

    def begin(self, task: str, total: int | None = None) -> None:
        """A new task starts; `total` is the number of steps where it is known."""

    def step(self, done: int) -> None:
        """So many steps of the current task are done."""

    def end(self) -> None:
        """The current task is done."""


class Silent:
    """Tells nobody."""

    def begin(self, task: str, total: int | None = None) -> None:
        del task, total

    def step(self, done: int) -> None:
        del done

    def end(self) -> None:
        return None
