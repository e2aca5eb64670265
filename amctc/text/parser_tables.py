"""The LALR tables of our grammars, in JSON files shipped beside them for a fast start; `make tables` writes them.

A file holds what lark serializes of a parser, but for the options, in a form that is the same for each run and each
version of Python. This is lark's own affair and may change with any version of it. So the file carries a hash of lark's
version, the grammar and the options, and tables with another hash are not used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, TypeAlias

import lark
from lark import Lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

_Reduce: TypeAlias = "dict[str, int]"
"""A rule by its number in the memo, as lark refers to it: `{"@": 12}`."""

_State: TypeAlias = "dict[str, int | _Reduce]"
"""By the name of a symbol, the number of the state that it leads to, or the rule that it ends."""


def load_tables(grammar: str, text: str, options: Mapping[str, Any], uses: Mapping[str, Any]) -> Lark | None:
    """The parser of a grammar by its tables; None where there are none, or they were made from something else.

    `text` and `options` are those of `print_tables`, `uses` the options that may differ from parser to parser.
    """
    try:
        tables = json.loads(files("amctc.grammar").joinpath("tables", f"{grammar}.json").read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(tables, dict) or tables.get("stamp") != _stamp(text, options):
        return None
    starts, states = tables["starts"], tables["states"]
    parser = {
        "tokens": {name: name for state in states for name in state},
        "states": {number: {name: _action(to) for name, to in state.items()} for number, state in enumerate(states)},
        "start_states": {rule: first for rule, (first, _) in starts.items()},
        "end_states": {rule: last for rule, (_, last) in starts.items()},
    }
    data = {
        "options": {**options, **uses},
        "rules": tables["rules"],
        "parser": {"lexer_conf": tables["lexer"], "parser_conf": tables["parser"], "parser": parser},
    }
    # Handed a mapping, lark takes it as it is; only from a file would it unpickle.
    return Lark.load({"data": data, "memo": dict(enumerate(tables["memo"]))})


def print_tables(text: str, options: Mapping[str, Any]) -> str:
    """What the file of a grammar is to hold."""
    data, memo = Lark(text, **options).memo_serialize([TerminalDef, Rule])
    for entry in memo.values():
        if "_width" in entry.get("pattern", ()):
            entry["pattern"]["_width"] = None  # lark then asks `re`, whose answer differs between versions of Python
    frontend = data["parser"]
    starts, states = _in_order(frontend["parser"])
    parts = {
        "stamp": _dense(_stamp(text, options)),
        "lexer": _dense(frontend["lexer_conf"]),
        "parser": _dense(frontend["parser_conf"]),
        "rules": _dense(data["rules"]),
        "memo": _lines(memo[number] for number in range(len(memo))),
        "starts": _dense(starts),
        "states": _lines(states),
    }
    return "{\n" + ",\n".join(f'"{name}": {part}' for name, part in parts.items()) + "\n}\n"


def _in_order(table: Mapping[str, Any]) -> tuple[dict[str, tuple[int, int]], list[_State]]:
    """The first and the last state of each start, and all states, as a walk over the symbols by name meets them.

    The order in which lark finds them is that of sets of strings, another one in each run.
    """
    names: Mapping[int, str] = table["tokens"]
    found: dict[int, int] = {}
    states: list[dict[str, Any]] = []

    def meet(state: int) -> int:
        if state not in found:
            found[state] = len(found)
            actions = table["states"][state].items()
            states.append({names[token]: action for token, action in sorted(actions, key=lambda item: names[item[0]])})
        return found[state]

    starts = {rule: (meet(first), meet(table["end_states"][rule])) for rule, first in table["start_states"].items()}
    for state in states:  # grows as it is walked
        for name, (reduces, to) in state.items():
            state[name] = to if reduces else meet(to)
    return starts, states


def _action(to: int | _Reduce) -> tuple[int, int | _Reduce]:
    return (0, to) if isinstance(to, int) else (1, to)


def _stamp(text: str, options: Mapping[str, Any]) -> str:
    made_from = json.dumps([lark.__version__, options, text], sort_keys=True)
    return hashlib.sha256(made_from.encode()).hexdigest()


def _dense(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _lines(values: Iterator[Any] | list[Any]) -> str:
    return "[\n" + ",\n".join(_dense(value) for value in values) + "\n]"
