"""Which nets a solver file names: files, or messages in it; each with the state that it is built for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from amctc.diagnostics import Collector, Diagnostic, Label
from amctc.frontends.caffe.net import NetFile, net_file_of, read_net_file
from amctc.frontends.caffe.net_state import NetState, Phase
from amctc.text.checked import CheckedField, CheckedMessage
from amctc.text.plain import Plain
from amctc.training.places import located

_TRAIN_FIELDS: Final = ("train_net_param", "train_net", "net_param", "net")
_GENERIC: Final = ("net_param", "net")


@dataclass(frozen=True)
class StateWords:
    """What a `train_state` or `test_state` says; None where it says nothing."""

    phase: Phase | None = None
    level: int | None = None
    stages: frozenset[str] = frozenset()

    @classmethod
    def of(cls, said: CheckedMessage | None) -> StateWords:
        if said is None:
            return cls()
        return cls(
            _phase(str(said.value("phase"))) if said.has("phase") else None,
            _level(said.value("level")) if said.has("level") else None,
            frozenset(str(name) for name in said.values("stage")),
        )


@dataclass(frozen=True)
class NetPlan:
    """One net of a solver: where it is written, and for which state it is built.

    `iterations` is how many batches a test takes; 0 for the net that is trained.
    """

    phase: Phase
    net: Path | NetFile
    words: StateWords
    label: str
    iterations: int = 0

    def read(self, collector: Collector) -> NetFile:
        """The layers of all states. Raises `DiagnosticError` as `read_net_file` does."""
        return self.net if isinstance(self.net, NetFile) else read_net_file(self.net, collector)

    def state(self, written: Mapping[str, Plain]) -> NetState:
        """The state to build it for: the solver's words, before those of the net's own `state`, before the phase."""
        phase, level = written.get("phase"), written.get("level")
        return NetState(
            self.words.phase or (_phase(str(phase)) if phase is not None else self.phase),
            next((given for given in (self.words.level, _level(level)) if given is not None), 0),
            self.words.stages,
        )


def train_plan(said: CheckedMessage, folder: Path, collector: Collector) -> NetPlan | None:
    """The net that is trained; None where AM910 went to `collector`: it must be named by exactly one field."""
    given = [entry for name in _TRAIN_FIELDS if (entry := said.field(name)) is not None]
    if len(given) != 1:
        collector.add(_not_one(said, given))
        return None
    net = _net(given[0], folder, collector)
    return NetPlan("TRAIN", net, StateWords.of(said.message("train_state")), given[0].name)


def test_plans(said: CheckedMessage, folder: Path, collector: Collector) -> tuple[NetPlan, ...]:
    """The nets that are tested, in Caffe's order: messages, files, then `net` once for each `test_iter` left.

    AM911 goes to `collector` where `test_iter`, `test_state` or `test_interval` do not fit them.
    """
    own = [*said.occurrences("test_net_param"), *said.occurrences("test_net")]
    generic = next((entry for name in _GENERIC if (entry := said.field(name)) is not None), None)
    times, states = said.occurrences("test_iter"), said.messages("test_state")
    enough = len(times) >= len(own) if generic is not None else len(times) == len(own)
    if not enough:
        collector.add(_wrong_times(own, times, said))
        return ()
    fields = [*own, *([generic] if generic is not None else []) * (len(times) - len(own))]
    if states and len(states) != len(fields):
        message = f"there are {len(states)} `test_state` for {_tests(len(fields))}"
        help = "give none, or one for each test net in order"
        collector.add(Diagnostic("AM911", message, span=states[-1].span, help=help))
        return ()
    interval = said.field("test_interval")
    if fields and (interval is None or interval.value == 0):
        span = (interval or times[0]).span
        help = "write `test_interval: 500`, or leave `test_iter` out"
        message = "`test_interval` must be 1 or more where there are nets to be tested"
        collector.add(Diagnostic("AM911", message, span=span, help=help))
    words = [StateWords.of(state) for state in states] or [StateWords()] * len(fields)
    return tuple(
        NetPlan("TEST", _net(field, folder, collector), state, field.name, _count(count))
        for field, state, count in zip(fields, words, times, strict=True)
    )


def _net(entry: CheckedField, folder: Path, collector: Collector) -> Path | NetFile:
    if isinstance(entry.value, CheckedMessage):
        return net_file_of(entry.value, entry.span.source, binary=False, collector=collector)
    return located(str(entry.value), folder)


def _not_one(said: CheckedMessage, given: Sequence[CheckedField]) -> Diagnostic:
    if not given:
        message = "the solver names no net to train"
        help = 'write `net: "train_val.prototxt"`'
        return Diagnostic("AM910", message, span=said.fields[0].name_span if said.fields else said.span, help=help)
    names = ", ".join(f"`{entry.name}`" for entry in given)
    message = f"the net to train is named more than once: by {names}"
    related = tuple(Label(entry.name_span, "named here too") for entry in given[:-1])
    help = "keep one of them"
    return Diagnostic("AM910", message, span=given[-1].name_span, related=related, help=help)


def _wrong_times(own: Sequence[CheckedField], times: Sequence[CheckedField], said: CheckedMessage) -> Diagnostic:
    message = f"there are {len(times)} `test_iter` for {_tests(len(own))}"
    help = "`test_iter` says how many batches a test takes: give one for each test net, in order"
    span = times[-1].span if times else own[-1].name_span if own else said.span
    return Diagnostic("AM911", message, span=span, help=help)


def _tests(count: int) -> str:
    return f"{count} test {'net' if count == 1 else 'nets'}"


def _count(entry: CheckedField) -> int:
    return entry.value if isinstance(entry.value, int) else 0


def _level(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _phase(word: str) -> Phase:
    return "TRAIN" if word == "TRAIN" else "TEST"
