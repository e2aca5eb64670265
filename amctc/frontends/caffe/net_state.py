"""Which layers of a file are there: phase, level and stages against the `include` and `exclude` rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from amctc.text.plain import Plain, Symbol

Phase = Literal["TRAIN", "TEST"]


@dataclass(frozen=True)
class NetState:
    """What a net is built for. The default is Caffe's: to be run, at level 0, with no stage set."""

    phase: Phase = "TEST"
    level: int = 0
    stages: frozenset[str] = frozenset()

    def with_stages(self, stages: Iterable[str]) -> NetState:
        return replace(self, stages=self.stages | set(stages))

    def keeps(self, layer: Mapping[str, Plain]) -> bool:
        """Whether a layer with these fields is there: any include rule holds, or no exclude rule does.

        As in Caffe the layer's own `phase` says how it computes, not whether it is there.
        """
        include = _messages(layer.get("include"))
        if include:
            return any(self.meets(rule) for rule in include)
        return not any(self.meets(rule) for rule in _messages(layer.get("exclude")))

    def meets(self, rule: Mapping[str, Plain]) -> bool:
        """Whether everything holds that a `NetStateRule` asks for."""
        least, most = rule.get("min_level"), rule.get("max_level")
        return not (
            rule.get("phase", self.phase) != self.phase
            or (isinstance(least, int) and self.level < least)
            or (isinstance(most, int) and self.level > most)
            or not self.stages.issuperset(_names(rule.get("stage")))
            or not self.stages.isdisjoint(_names(rule.get("not_stage")))
        )

    def lacking(self, layer: Mapping[str, Plain]) -> str:
        """What the state would have to be for a layer that is not there, in words: that of its first include rule."""
        include = _messages(layer.get("include"))
        if not include:
            return "where its `exclude` rules allow it"
        rule = include[0]
        least, most = rule.get("min_level"), rule.get("max_level")
        words = [f"in phase {rule['phase']!s}"] if rule.get("phase", self.phase) != self.phase else []
        if isinstance(least, int) and self.level < least:
            words.append(f"from level {least} on (`--level {least}`)")
        if isinstance(most, int) and self.level > most:
            words.append(f"up to level {most} (`--level {most}`)")
        words += [
            f"with stage `{name}` (`--stage {name}`)" for name in _names(rule.get("stage")) if name not in self.stages
        ]
        words += [f"without stage `{name}`" for name in _names(rule.get("not_stage")) if name in self.stages]
        return ", ".join(words)

    def described(self, written: Mapping[str, Plain]) -> dict[str, Plain]:
        """The `state` message that makes a file of this net the same net again.

        `written` is the message of the file the net came from: what it mentions is mentioned again.
        """
        found = dict(written)
        if "phase" in written or self.phase != "TEST":
            found["phase"] = Symbol(self.phase)
        if "level" in written or self.level:
            found["level"] = self.level
        stages = [name for name in _names(written.get("stage")) if name in self.stages]
        stages += sorted(self.stages.difference(stages))
        if stages:
            found["stage"] = tuple(stages)
        return found


def _messages(value: Plain | None) -> list[Mapping[str, Plain]]:
    items = value if isinstance(value, tuple) else (value,)
    return [item for item in items if isinstance(item, dict)]


def _names(value: Plain | None) -> list[str]:
    items = value if isinstance(value, tuple) else (value,)
    return [item for item in items if isinstance(item, str)]
