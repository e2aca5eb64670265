"""Write docs/reference.md from what the program says of itself: commands, policy fields, passes, targets and ops."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from typer.main import get_command
from typer.testing import CliRunner

from amctc.catalog import (
    OpRow,
    PassRow,
    TargetRow,
    describe_ops,
    describe_passes,
    describe_pipelines,
    describe_targets,
    dialects,
)
from amctc.cli import app
from amctc.pipeline.options import Option
from amctc.policy.limits import LIMITS
from amctc.policy.read_cfg import CFG_MESSAGE, CFG_SCHEMA
from amctc.policy.settings import ACTIVATION_OFFSET, ARQ_BITS, BATCH_NUM, BN_UPDATE, DO_FUSION, IFMR, UPDATE_BN
from amctc.registry import builtin_registry
from amctc.text.proto_schema import load_schema

HEAD = """\
# Reference

Written by `make docs` from what the program says of itself; do not edit. A test says when it is out of date.

"""

TYPES = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_UINT32: "uint32",
}

DEFAULTS: dict[str, object] = {
    "AMCTConfig.batch_num": BATCH_NUM,
    "AMCTConfig.activation_offset": ACTIVATION_OFFSET,
    "AMCTConfig.do_fusion": DO_FUSION,
    "AMCTConfig.update_bn": UPDATE_BN,
    "BnUpdateConfig.bn_update_iterations": BN_UPDATE.iterations,
    "BnUpdateConfig.bn_moving_average_fraction": BN_UPDATE.fraction,
    "FMRQuantize.search_range_start": IFMR.search_range[0],
    "FMRQuantize.search_range_end": IFMR.search_range[1],
    "FMRQuantize.search_step": IFMR.search_step,
    "FMRQuantize.max_percentile": IFMR.max_percentile,
    "FMRQuantize.min_percentile": IFMR.min_percentile,
    "FMRQuantize.num_bits": IFMR.bits,
    "ARQuantize.channel_wise": "that of the layer type",
    "ARQuantize.num_bits": ARQ_BITS,
}
"""What holds where a field is not written; other fields have the default of the schema, or none."""

LIMIT_NAMES = {
    "AMCTConfig": "",
    "BnUpdateConfig": "bn_update_config.",
    "ARQuantize": "arq_quantize.",
    "FMRQuantize": "ifmr_quantize.",
    "SNQuantize": "snq_quantize.",
}


CODES = (
    ("AM1xx", "reading text: encodings, syntax, `.proto` schemas"),
    ("AM2xx", "policies"),
    ("AM3xx", "models"),
    ("AM4xx", "data, calibration and running"),
    ("AM5xx", "passes and pipelines"),
    ("AM6xx", "records"),
    ("AM7xx", "targets and the files they write"),
    ("AM8xx", "the command line"),
    ("AM9xx", "training"),
)


def reference() -> str:
    """The whole text of the reference."""
    sections = (*_commands(), *_policy(), *_passes(), *_pipelines(), *_targets(), *_ops(), _codes())
    return HEAD + "\n".join(sections)


def _commands() -> Iterator[str]:
    yield "## Commands\n"
    yield "Exit status: 0 done; 1 the input is wrong, and no file was touched; 2 wrong usage; 70 a bug of amctc.\n"
    group: Any = get_command(app)
    for name in group.commands:
        shown = CliRunner().invoke(app, [name, "--help"], prog_name="amctc", terminal_width=100).stdout
        lines = [line.rstrip() for line in shown.strip().splitlines()]
        yield f"### amctc {name}\n\n```text\n" + "\n".join(lines) + "\n```\n"


def _policy() -> Iterator[str]:
    yield "## Policy fields\n"
    yield (
        "The messages of a .cfg policy, from `grammar/proto/amct_caffe_ptq.proto`; [policies](policies.md) explains\n"
        "them. A JSON layer config is described by `grammar/schema/amct_caffe_ptq.schema.json`.\n"
    )
    schema = load_schema(CFG_SCHEMA)
    root = schema.descriptor(CFG_MESSAGE)
    for name in _message_names(root):
        message = schema.descriptor(f"{root.file.package}.{name}")
        rows = [_field(name, field) for field in message.fields]
        yield f"### {name}\n\n" + _table(("field", "type", "times", "range", "default"), rows)


def _message_names(message: Any) -> list[str]:
    """The message and those in it, each once, in the order in which they are met."""
    found = [message.name]
    for field in message.fields:
        if field.message_type is not None:
            found += _message_names(field.message_type)
    return list(dict.fromkeys(found))


def _field(message: str, field: Any) -> tuple[str, ...]:
    kind = field.message_type.name if field.message_type is not None else TYPES[field.type]
    times = "any number" if field.is_repeated else "one" if field.is_required else "none or one"
    oneof = field.containing_oneof
    if oneof is not None:
        times += f", of `{oneof.name}`"
    limits = LIMITS.get(LIMIT_NAMES.get(message, f"{message}.") + field.name)
    default = DEFAULTS.get(f"{message}.{field.name}", field.default_value if field.has_default_value else None)
    return f"`{field.name}`", kind, times, str(limits or ""), "" if default is None else _word(default)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _passes() -> Iterator[str]:
    yield "## Passes\n"
    yield "[Passes](passes.md) says how they work and how to write one.\n"
    for row in describe_passes(builtin_registry()):
        yield f"### {row.name}\n\n" + "\n".join(_pass(row))


def _pass(row: PassRow) -> Iterator[str]:
    yield f"{row.summary}\n"
    if row.description:
        yield f"{row.description}\n"
    if row.pattern is not None:
        yield f"Pattern: `{row.pattern}`\n"
    order = [
        f"{word} {', '.join(f'`{name}`' for name in names)}"
        for word, names in (
            ("after", row.after),
            ("before", row.before),
            ("needs before it", row.needs_before),
            ("needs after it", row.needs_after),
        )
        if names
    ]
    if order:
        yield f"Order: {'; '.join(order)}.\n"
    asked = (("a policy", row.needs_policy), ("data", row.needs_calibration), ("a record", row.needs_record))
    needs = [word for word, there in asked if there]
    need = f" It needs {' and '.join(needs)}." if needs else ""
    numbers = "It computes what was computed before." if row.preserves_numbers else "It may change the numbers."
    yield f"{numbers}{need}\n"
    yield _options(row.options)


def _options(options: Sequence[Option]) -> str:
    if not options:
        return "It has no options.\n"
    return _table(("option", "type", "range", "default", "what it is"), [_option(option) for option in options])


def _option(option: Option) -> tuple[str, ...]:
    least, most = ("" if limit is None else _word(limit) for limit in (option.least, option.most))
    limits = f"{least} … {most}".strip() if least or most else ""
    values = ", ".join(f"`{word}`" for word in option.choices) or limits
    return f"`{option.name}`", option.type, values, f"`{option.default}`", option.help


def _pipelines() -> Iterator[str]:
    yield "## Pipelines\n"
    yield "What `--pipeline` can name. A name stands for its passes, in another pipeline too.\n"
    rows = describe_pipelines(builtin_registry())
    yield _table(("pipeline", "its passes"), [(f"`{row.name}`", f"`{row.text}`") for row in rows])


def _targets() -> Iterator[str]:
    yield "## Targets\n"
    yield (
        "What `--target` can name, see [targets](targets.md). [Files](files.md) says what each file holds,\n"
        "[write a target](write-a-target.md) how one is written.\n"
    )
    rows = describe_targets(builtin_registry())
    yield _table(("target", "what it writes"), [(f"`{row.name}`", row.summary) for row in rows])
    for row in rows:
        yield f"### Target {row.name}\n\n" + "\n".join(_target(row))


def _target(row: TargetRow) -> Iterator[str]:
    if row.description:
        yield f"{row.description}\n"
    yield _options(row.options)


def _ops() -> Iterator[str]:
    yield "## Ops\n"
    yield (
        "`data`: whether the data of such layers are quantized by default, only if asked (see\n"
        "[policies](policies.md)), or not at all. `weights`: the finest scale that their weights may have.\n"
        "`parameters`: the fields of the layer's message, or the attributes of the ONNX node, with their defaults;\n"
        "`[]` may be given several times. Of ONNX ops the inputs are counted with the constant ones, but for\n"
        "those that are quantized with their weights.\n"
        "`runs on`: ONNX Runtime, or a host op, which is numpy.\n"
    )
    for dialect in dialects():
        yield f"### {dialect}\n"
        yield _table(
            ("op", "data", "weights", "inputs", "outputs", "parameters", "runs on", "what it is"),
            [_op(op) for op in describe_ops(dialect)],
        )


def _op(op: OpRow) -> tuple[str, ...]:
    parameters = ", ".join(f"`{parameter}`" for parameter in op.parameters)
    parameters = f"`{op.field}`: {parameters}" if op.field else parameters
    what = f"{op.summary}; {op.notes}" if op.notes else op.summary
    return f"`{op.name}`", op.data, op.weights, op.inputs, op.outputs, parameters, op.runs, what


def _codes() -> str:
    head = (
        "Every diagnostic has a code, which never changes its meaning; the first digit says what it is about.\n"
        "[Diagnostic codes](codes.md) tells what each means, with an example and the mend.\n\n"
    )
    return "## Diagnostic codes\n\n" + head + _table(("codes", "about"), CODES)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
