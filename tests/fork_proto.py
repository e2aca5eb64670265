"""The messages of the fork of Caffe whose figures are recorded, as the `.proto` that its users would give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.shared_files import GOLDEN


def fork_proto(leave_out: Sequence[str] = ()) -> str:
    """The recorded fork's messages as a `.proto`."""
    messages: dict[str, Any] = json.loads((GOLDEN / "caffe_fork" / "fork_params.json").read_text(encoding="utf-8"))
    enums: dict[str, dict[str, dict[str, int]]] = {}
    for name, fields in messages.items():
        for field in fields:
            if "values" in field:
                outer, _, inner = field["type"].rpartition(".")
                enums.setdefault(outer or name, {})[inner] = field["values"]
    lines: list[str] = []
    for name, fields in messages.items():
        lines.append(f"message {name} {{")
        for enum, values in enums.get(name, {}).items():
            lines.append(f"  enum {enum} {{ {' '.join(f'{key} = {number};' for key, number in values.items())} }}")
        for field in fields:
            if field["name"] in leave_out:
                continue
            default = field.get("default")
            shown = json.dumps(default) if "values" not in field else default
            option = "" if default is None else f" [default = {shown}]"
            lines.append(
                f"  {field.get('label', 'optional')} {field['type']} {field['name']} = {field['number']}{option};"
            )
        lines.append("}")
    return "\n".join(lines)
