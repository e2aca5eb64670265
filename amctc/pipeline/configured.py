"""What a text can name with options in braces: a pass or a target."""

from __future__ import annotations

import dataclasses
import inspect
from enum import Enum
from typing import ClassVar


class Configured:
    """Something with a name, a docstring that is its help, and options: the fields of its dataclass, if it is one.

    `name` is kebab-case and never changes. The first paragraph of the docstring is the summary in lists; the rest is
    its documentation.
    """

    name: ClassVar[str]

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
        """Its text form: the name, and the options that are not the default."""
        if not dataclasses.is_dataclass(self):
            return self.name
        changed = [
            (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        options = ",".join(f"{option_name(key)}={option_text(value)}" for key, value in changed)
        return f"{self.name}{{{options}}}" if options else self.name


def option_name(field: str) -> str:
    """The name of an option as it is written in a text, for the name of its field."""
    return field.replace("_", "-")


def option_text(value: object) -> str:
    """The value of an option as it is written in a text; a member of an Enum by its text, else by its name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name.lower().replace("_", "-")
    return str(value)
