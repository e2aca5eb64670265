"""What a pass is."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar

from amctc.ir import Graph
from amctc.pipeline.context import Context


class Pass(ABC):
    """One rewrite of the graph: a frozen dataclass whose fields are its options.

    `name` is kebab-case and never changes. `after` and `before` name passes that must come earlier
    or later in any pipeline that has both; `needs_before` and `needs_after` name passes that a whole
    pipeline must have earlier or later (`a|b`: one of the two). A pass that has such needs stands in a pipeline
    once, unless it is `repeatable`: leaves alone what it has done already. One that `preserves_numbers`
    promises that the graph computes what it computed before, to the last few bits of float32. The first
    paragraph of the docstring is the summary in lists; the rest is its documentation.
    """

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]] = ()
    before: ClassVar[tuple[str, ...]] = ()
    needs_before: ClassVar[tuple[str, ...]] = ()
    needs_after: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = False
    preserves_numbers: ClassVar[bool] = False
    needs_policy: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = False
    needs_record: ClassVar[bool] = False

    @abstractmethod
    def run(self, graph: Graph, context: Context) -> bool:
        """Rewrite the graph in place; say whether anything changed."""

    def skip_reason(self, context: Context) -> str | None:
        """Why the policy does not want this pass at all, as a sentence; None to run it."""
        return None

    def batches(self, context: Context) -> int | None:
        """How many batches of calibration data the pass will go through; None where it takes none."""
        return context.need_calibration().batch_num if self.needs_calibration else None

    @classmethod
    def summary(cls) -> str:
        """The first paragraph of the docstring, on one line."""
        return " ".join((cls.__doc__ or "").strip().split("\n\n", maxsplit=1)[0].split())

    @classmethod
    def description(cls) -> str:
        """The docstring after its first paragraph, as it is written."""
        _, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
        return rest

    def __str__(self) -> str:
        """The pass in the text form of a pipeline: its name, and the options that are not the default."""
        if not dataclasses.is_dataclass(self):
            return self.name
        changed = [
            (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        options = " ".join(f"{key.replace('_', '-')}={option_text(value)}" for key, value in changed)
        return f"{self.name}{{{options}}}" if options else self.name


def option_text(value: object) -> str:
    """The value of an option as it is written in a pipeline; a member of an Enum by its text, else by its name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name.lower().replace("_", "-")
    return str(value)
