"""The lines of a training, in the words of Caffe's log, so that its parsers and plotters read them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from amctc.diagnostics import Diagnostic

Letter = Literal["I", "W"]


@dataclass(frozen=True)
class Score:
    """One number of an output: `weight` is by how much it counts in the loss, 0 for not at all."""

    output: str
    value: float
    weight: float = 0.0


class TrainingLog:
    """Writes lines with the prefix of Google's logging library: `I1231 23:59:59.123456  4242 solver.cpp:1] text`.

    The file in the prefix is the one that says such a line in Caffe, as some readers look for it; its line number
    means nothing. `write` takes a line without its end; `now` is the clock.
    """

    def __init__(self, write: Callable[[str], None], now: Callable[[], datetime] = datetime.now) -> None:
        self._write = write
        self._now = now
        self._process = os.getpid()

    def info(self, text: str, said_by: str = "solver.cpp") -> None:
        self._line("I", text, said_by)

    def warn(self, diagnostic: Diagnostic) -> None:
        """The message and the place of a diagnostic."""
        where = f" ({diagnostic.location})" if diagnostic.location is not None else ""
        self._line("W", f"{diagnostic.message}{where} [{diagnostic.code}]", "amctc")

    def scores(self, kind: Literal["Train", "Test"], scores: Sequence[Score]) -> None:
        """One line for each number of the outputs of a net."""
        for text in score_texts(kind, scores):
            self.info(text)

    def _line(self, letter: Letter, text: str, said_by: str) -> None:
        moment = self._now()
        said = text.replace("\n", " ")
        self._write(f"{letter}{moment:%m%d %H:%M:%S.%f} {self._process:5d} {said_by}:1] {said}")


def silent_log() -> TrainingLog:
    """A log that nobody reads."""
    return TrainingLog(lambda line: None)


def number(value: float) -> str:
    """A number as C++ prints it: six significant digits."""
    return f"{value:g}"


def progress_text(iteration: int, done: int, seconds: float, display: int, loss: float) -> str:
    """The line that is written every `display` iterations; `done` of them took so many seconds."""
    speed = done / (seconds or 1)
    return f"Iteration {iteration} ({number(speed)} iter/s, {number(seconds)}s/{display} iters), loss = {number(loss)}"


def score_texts(kind: Literal["Train", "Test"], scores: Sequence[Score]) -> Iterator[str]:
    for index, score in enumerate(scores):
        share = ""
        if score.weight:
            share = f" (* {number(score.weight)} = {number(score.weight * score.value)} loss)"
        yield f"    {kind} net output #{index}: {score.output} = {number(score.value)}{share}"


class Tee:
    """Hands every line to several writers, one line at a time."""

    def __init__(self, *writers: Callable[[str], None]) -> None:
        self._writers = writers
        self._lock = threading.Lock()

    def __call__(self, line: str) -> None:
        with self._lock:
            for write in self._writers:
                write(line)
