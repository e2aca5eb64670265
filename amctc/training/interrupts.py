"""Ctrl-C ends a training after its iteration, with a snapshot; a hang-up signal asks for a snapshot alone."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType
from typing import Any

from amctc.training.solver import Action


class Interrupts:
    """While it is entered, signals are wishes that `asked` tells, each once; a second Ctrl-C ends the process at once.

    Only the main thread of a process can enter it.
    """

    def __init__(self) -> None:
        self._wish: Action = "none"
        self._before: dict[int, Any] = {}

    def asked(self) -> Action:
        """What somebody wants now."""
        wish, self._wish = self._wish, "none"
        return wish

    def __enter__(self) -> Interrupts:
        self._before = {signal.SIGINT: signal.signal(signal.SIGINT, self._stop)}
        if sys.platform != "win32":
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._snapshot)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._wish = "stop"
        signal.signal(number, self._before[number])

    def _snapshot(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._wish == "none":
            self._wish = "snapshot"
