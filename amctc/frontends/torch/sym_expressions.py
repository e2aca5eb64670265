"""Sizes as expressions of free sizes, as the file of an exported program writes them: Python that torch evaluates."""

from __future__ import annotations

import ast
import re
from typing import Final

MOST_CHARACTERS: Final = 10_000
MOST_NUMBER: Final = 1 << 63

_MADE: Final = frozenset(
    {
        *("Add", "And", "CeilDiv", "CeilToInt", "CleanDiv", "Equality", "Eq", "Float", "FloatTrueDiv", "FloorDiv"),
        *("FloorToInt", "Ge", "GreaterThan", "Gt", "Identity", "IntTrueDiv", "Integer", "Le", "LessThan", "Lt"),
        *(
            "Max",
            "Min",
            "Mod",
            "ModularIndexing",
            "Mul",
            "Ne",
            "Not",
            "Or",
            "PythonMod",
            "Rational",
            "StrictGreaterThan",
        ),
        *("StrictLessThan", "Symbol", "ToFloat", "TruncToFloat", "TruncToInt", "Unequality", "Where", "floor"),
    }
)
"""Whose values are no larger than what they are made of allows: no powers and no shifts of plain numbers."""
_CONSTANTS: Final = frozenset({"true", "false", "oo", "int_oo"})
_SIZE: Final = re.compile(r"[a-z]{1,4}\d{1,4}", re.ASCII)
_SAID: Final = frozenset({"positive", "integer", "nonnegative", "nonzero", "real", "finite", "evaluate", "precision"})


def is_plain_expression(text: str) -> bool:
    """Whether a text is a number, or calls of the listed functions on free sizes and numbers, and nothing else."""
    if len(text) > MOST_CHARACTERS:
        return False
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    waiting: list[ast.expr] = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Call):
            if not _is_plain_call(part):
                return False
            waiting.extend(part.args)
            waiting.extend(keyword.value for keyword in part.keywords)
        elif not _is_plain_leaf(part):
            return False
    return True


def _is_plain_call(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Name) or any(keyword.arg not in _SAID for keyword in call.keywords):
        return False
    if call.func.id == "Pow":
        return len(call.args) == 2 and _is_symbol(call.args[0]) and _is_small(call.args[1])
    if call.func.id in ("Symbol", "Float"):
        return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and _is_word(call.args[0].value)
    return call.func.id in _MADE


def _is_plain_leaf(part: ast.expr) -> bool:
    if isinstance(part, ast.UnaryOp):
        return isinstance(part.op, ast.USub) and isinstance(part.operand, ast.Constant) and _is_plain_leaf(part.operand)
    if isinstance(part, ast.Name):
        return part.id in _CONSTANTS or _SIZE.fullmatch(part.id) is not None
    if not isinstance(part, ast.Constant):
        return False
    value = part.value
    return _is_word(value) or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < MOST_NUMBER)


def _is_symbol(part: ast.expr) -> bool:
    return isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "Symbol"


def _is_small(part: ast.expr) -> bool:
    """Whether an exponent is a number between -1 and 8."""
    return ast.unparse(part) in {f"Integer({number})" for number in range(-1, 9)}


def _is_word(value: object) -> bool:
    """Whether it is the name of a free size, such as `s77`, or the digits of a number."""
    return isinstance(value, str) and value.isascii() and len(value) < 40 and value.replace(".", "").isalnum()
