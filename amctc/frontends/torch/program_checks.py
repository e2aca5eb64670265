"""What torch may be given of an exported program's file: a positive list, for a file can hold anything.

To read a program torch evaluates some of its texts, imports modules that it names, looks up functions in `torch`, and
writes Python source of the names in it, which it runs. So everything that is no plain graph of known ops is refused
here, and what only describes the program's origin is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from amctc.frontends.torch.sym_expressions import is_plain_expression

MOST_DEPTH: Final = 200
"""So deep may the parts of a program lie in each other."""

_OPERATORS: Final = frozenset(
    {
        *("add", "and_", "eq", "floordiv", "ge", "getitem", "gt", "le", "lt", "mod", "mul", "ne", "neg", "not_", "or_"),
        *("pos", "sub", "truediv"),
    }
)
_MATH: Final = frozenset({"ceil", "floor", "trunc", "sqrt"})
_OF_TORCH: Final = frozenset({"sym_float", "sym_int", "sym_ite", "sym_max", "sym_min", "sym_not", "sym_sum"})
_HIGHER: Final = frozenset({"cond", "scan", "while_loop", "wrap_with_autocast", "wrap_with_set_grad_enabled"})
_ATEN: Final = re.compile(r"torch\.ops\.(aten|prims)\.(?!from_file\b)\w+\.\w+", re.ASCII)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*|", re.ASCII)
_QUALIFIED: Final = re.compile(r"[\w.@]*", re.ASCII)
_STACK: Final = re.compile(r"[\w.,;@\[\]() -]*", re.ASCII)
_SYMBOL: Final = re.compile(r"[A-Za-z]+\d{1,4}", re.ASCII)
_TREES: Final = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", None})

_IDENTIFIERS: Final = frozenset({"name", "as_name"})
_QUALIFIEDS: Final = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "fqn", "user_input_name"})
_OPS: Final = frozenset({"target", "as_operator"})
_SPECS: Final = frozenset({"in_spec", "out_spec"})
_EMPTY: Final = frozenset({"custom_obj_values", "as_custom_obj", "custom_obj", "token", "as_opaque"})
_CPU: Final = {"type": "cpu", "index": None}


class NotPlain(ValueError):
    """A program holds what could run code; the text says what, in a few words."""


def plain_program(program: Any) -> dict[str, Any]:
    """The program, as its JSON has it, with all that torch needs and nothing that it would run.

    Devices become the CPU, and guards, stack traces and free notes are left out. Raises `NotPlain` for anything that
    is not on the list, and `ValueError` where the parts are nested deeper than `MOST_DEPTH`.
    """
    if not isinstance(program, dict) or not isinstance(program.get("graph_module"), dict):
        raise ValueError("it has no graph")
    found: dict[str, Any] = _plain(program, MOST_DEPTH)
    found["guards_code"] = []
    found["graph_module"]["metadata"] = {}
    found["graph_module"]["treespec_namedtuple_fields"] = {}
    for name in _mapping(found.get("range_constraints")):
        if _SYMBOL.fullmatch(name) is None:
            raise NotPlain(f"a size named {name[:40]!r}")
    return found


def _plain(part: Any, room: int) -> Any:
    if room == 0:
        raise ValueError(f"its parts are nested deeper than {MOST_DEPTH}")
    if isinstance(part, list):
        return [_plain(each, room - 1) for each in part]
    if not isinstance(part, dict):
        return part
    return {str(key): _plain_field(str(key), value, room - 1) for key, value in part.items()}


def _plain_field(key: str, value: Any, room: int) -> Any:
    if key in ("device", "as_device") and value is not None:
        return dict(_CPU)
    if key == "metadata":
        return _stack(value)
    if key == "expr_str":
        return _checked(value, isinstance(value, str) and is_plain_expression(value), "the expression")
    if key in _SPECS:
        return _checked(value, isinstance(value, str) and _is_plain_tree(value), "the structure")
    if key in _EMPTY:
        return _checked(value, not value, "an object of its own:")
    if isinstance(value, str):
        return _checked(value, _is_plain_text(key, value), "the op" if key in _OPS else "the name")
    if key == "forward_arg_names":
        names = value if isinstance(value, list) else []
        return [_checked(name, _is_identifier(name), "the name") for name in names]
    if key in ("tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values"):
        for name in _mapping(value):
            _checked(name, _is_identifier(name), "the name")
    return _plain(value, room)


def _is_plain_text(key: str, text: str) -> bool:
    if key in _OPS:
        return is_plain_op(text)
    if key in _IDENTIFIERS:
        return _is_identifier(text)
    return key not in _QUALIFIEDS or _QUALIFIED.fullmatch(text) is not None


def is_plain_op(target: str) -> bool:
    """Whether a name is one of torch's own ops, which compute and do nothing else."""
    if _ATEN.fullmatch(target) is not None:
        return True
    place, _, name = target.rpartition(".")
    listed = {"_operator": _OPERATORS, "math": _MATH, "torch": _OF_TORCH, "torch.ops.higher_order": _HIGHER}
    return name in listed.get(place, ())


def _is_identifier(name: object) -> bool:
    return isinstance(name, str) and _IDENTIFIER.fullmatch(name) is not None


def _is_plain_tree(text: str) -> bool:
    """Whether a structure of inputs or outputs is made of tuples, lists and dictionaries alone."""
    try:
        version, root = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return False
    waiting = [root]
    while waiting:
        tree = waiting.pop()
        if not isinstance(tree, dict) or tree.get("type") not in _TREES:
            return False
        if not isinstance(tree.get("children_spec"), list) or not _is_plain_context(tree.get("context")):
            return False
        waiting.extend(tree["children_spec"])
    return isinstance(version, int)


def _is_plain_context(context: object) -> bool:
    """Whether what is said of a part is nothing, or the keys of a dictionary."""
    if context is None:
        return True
    try:
        keys = json.loads(context) if isinstance(context, str) else context
    except (ValueError, RecursionError):
        return False
    return keys is None or (isinstance(keys, list) and all(_is_identifier(key) for key in keys))


def _stack(metadata: Any) -> dict[str, str]:
    """Of the notes on a node only the modules that it stands in."""
    stack = _mapping(metadata).get("nn_module_stack")
    return {"nn_module_stack": stack} if isinstance(stack, str) and stack and _STACK.fullmatch(stack) else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _checked(value: Any, plain: bool, what: str) -> Any:
    if not plain:
        raise NotPlain(f"{what} {str(value)[:60]!r}")
    return value
