"""Names that Ascend's parser takes."""

from __future__ import annotations

import re

from amctc.ir import Node
from amctc.targets.ge.crossing import Crossing, Rule, Unsayable

NAME_RULE = "a name that GE does not take: only letters, digits, and `./_-` may be in it; rename it"

_NAME = re.compile(r"[A-Za-z0-9./_-]+")


def is_name(text: str) -> bool:
    """Whether the parser takes a name."""
    return _NAME.fullmatch(text) is not None


def named(rule: Rule) -> Rule:
    """The rule for layers with such a name."""

    def checked(c: Crossing, node: Node) -> None:
        if not is_name(node.name):
            raise Unsayable(f"has {NAME_RULE}")
        rule(c, node)

    return checked
