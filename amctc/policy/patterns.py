"""Globs and regular expressions over names, matched in time linear in the name.

A policy comes from others, so no pattern may hang: a pattern is turned into a finite automaton, whose
states are worked out as names need them. What an automaton cannot do (look-around, back references)
is refused. A name matches as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from amctc.policy.pattern_syntax import Atom, Choice, Part, PatternError, Sequence, parse_glob, parse_regex

LONGEST_NAME: Final = 1000
"""No longer name matches a pattern."""

_MOST_STATES = 1000
_MOST_BUILT = 5000  # parts, those counted that repetitions repeat
_MOST_REMEMBERED = 10_000  # sets of states, before they are worked out anew


def glob(text: str) -> Pattern:
    """The pattern of a glob, as `parse_glob` takes it. Raises `PatternError`."""
    return Pattern(parse_glob(text))


def regex(text: str) -> Pattern:
    """The pattern of a regular expression, as `parse_regex` takes it. Raises `PatternError`."""
    return Pattern(parse_regex(text))


class Pattern:
    """A pattern ready to match. The sets of states that names led to are remembered, which changes no answer."""

    __slots__ = ("_accepting", "_ids", "_masks", "_nfa", "_prefix", "_sets", "_steps", "_tests")

    def __init__(self, part: Part) -> None:
        self._prefix = _prefix(part)
        self._nfa = _Automaton(part)
        self._tests: list[Callable[[str], re.Match[str] | None]] = []
        for expression in self._nfa.atoms:
            try:
                self._tests.append(re.compile(expression, re.DOTALL).fullmatch)
            except re.error as problem:
                raise PatternError(f"`{expression}` is wrong: {problem.msg}") from None
        self._masks: dict[str, int] = {}
        self._forget()

    def matches(self, name: str) -> bool:
        """Whether the whole name matches."""
        if not name.startswith(self._prefix) or len(name) > LONGEST_NAME:
            return False
        if len(self._sets) > _MOST_REMEMBERED:
            self._forget()
        at, masks, steps = 0, self._masks, self._steps
        for char in name:
            mask = masks.get(char)
            if mask is None:
                mask = self._mask(char)
            found = steps.get((at, mask))
            at = found if found is not None else self._step(at, mask)
            if at < 0:
                return False
        return self._accepting[at]

    def _forget(self) -> None:
        self._sets: list[frozenset[int]] = []
        self._ids: dict[frozenset[int], int] = {}
        self._accepting: list[bool] = []
        self._steps: dict[tuple[int, int], int] = {}
        self._id(self._nfa.closure([self._nfa.start]))

    def _id(self, states: frozenset[int]) -> int:
        if not states:
            return -1
        found = self._ids.get(states)
        if found is None:
            found = self._ids[states] = len(self._sets)
            self._sets.append(states)
            self._accepting.append(0 in states)
        return found

    def _mask(self, char: str) -> int:
        """Which of the atoms take the character, one bit each."""
        mask = sum(1 << index for index, test in enumerate(self._tests) if test(char))
        if len(self._masks) < _MOST_REMEMBERED:
            self._masks[char] = mask
        return mask

    def _step(self, at: int, mask: int) -> int:
        edges = self._nfa.edges
        taken = (edges[state] for state in self._sets[at] if state)
        after = self._id(self._nfa.closure([target for atom, target in taken if mask >> atom & 1]))
        self._steps[at, mask] = after
        return after


class _Automaton:
    """States by number: 0 ends a match, the others take one character (`edges`) or lead on at once (`jumps`)."""

    def __init__(self, part: Part) -> None:
        self.atoms: dict[str, int] = {}
        self.edges: dict[int, tuple[int, int]] = {}
        self.jumps: dict[int, list[int]] = {}
        self._count = 1
        self._built = 0
        self.start = self._build(part, 0)

    def closure(self, states: list[int]) -> frozenset[int]:
        """The states that end a match or take a character, reached from these without one."""
        seen: set[int] = set()
        waiting = list(states)
        while waiting:
            state = waiting.pop()
            if state not in seen:
                seen.add(state)
                waiting.extend(self.jumps.get(state, ()))
        return frozenset(state for state in seen if state not in self.jumps)

    def _new(self) -> int:
        self._count += 1
        if self._count > _MOST_STATES:
            raise PatternError("it repeats too much")
        return self._count - 1

    def _build(self, part: Part, after: int) -> int:
        """The state at which the part begins, for it to lead to `after`."""
        self._built += 1
        if self._built > _MOST_BUILT:
            raise PatternError("it repeats too much")
        if isinstance(part, Atom):
            state = self._new()
            self.edges[state] = (self.atoms.setdefault(part.expression, len(self.atoms)), after)
            return state
        if isinstance(part, Sequence):
            for inner in reversed(part.parts):
                after = self._build(inner, after)
            return after
        if isinstance(part, Choice):
            return self._jump([self._build(branch, after) for branch in part.branches])
        begin = after
        if part.most is None:
            begin = self._jump([after])
            self.jumps[begin].append(self._build(part.part, begin))
        for _ in range((part.most or part.least) - part.least):
            begin = self._jump([self._build(part.part, begin), after])
        for _ in range(part.least):
            begin = self._build(part.part, begin)
        return begin

    def _jump(self, targets: list[int]) -> int:
        state = self._new()
        self.jumps[state] = targets
        return state


def _prefix(part: Part) -> str:
    """The characters that every match begins with, or some of them."""
    if isinstance(part, Atom):
        return part.char or ""
    if not isinstance(part, Sequence):
        return ""
    chars: list[str] = []
    for inner in part.parts:
        if not isinstance(inner, Atom) or inner.char is None:
            break
        chars.append(inner.char)
    return "".join(chars)
