"""Reads damaged policies in a process of its own, with a limit on time.

`python -m tests.fuzz.mutate_policies START COUNT` makes the cases START to START + COUNT - 1 (a case
depends on its number alone), and prints a JSON summary. A case may end in a rule set, which is
resolved, explained and written, or in diagnostics, which are rendered; anything else, or 2 seconds of
processor time, is a failure.
"""

from __future__ import annotations

import faulthandler
import json
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from random import Random
from types import FrameType
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from amctc.diagnostics import Diagnostic, DiagnosticError, Level, render, to_json
from amctc.ir import Graph
from amctc.policy import Policy, explain, resolve
from amctc.policy import to_json as to_layer_config
from amctc.policy.check import check_text
from amctc.policy.flavours import FLAVOURS
from amctc.source import SourceFile
from tests.fuzz.mutations import WORDS
from tests.fuzz.policy_samples import CFGS, LAYER_CONFIGS
from tests.policy.texts import small_graph

SECONDS = 2

_HANGS = 60
"""Seconds of the clock after which the process gives up and tells where it hangs."""
_TOKENS = re.compile(r"\w+|\s+|[^\w\s]")
_LONGEST = 12
_LAYERS = ("conv1", "conv2", "fc", "pool1", "sum", "bn1", "glob:conv*", "regex:conv[0-9]+")
_TYPES = ("Convolution", "InnerProduct", "Pooling", "ReLU", "Scale", "glob:*Norm", "Linear", "Conv2d")
_ODD_NAMES = ("nope", "", "regex:((", "glob:[", "regex:" + "(a*)*" * 20, "glob:" + "*a" * 90, "批", "a" * 300)
_NUMBERS = ("0", "1", "-1", "2", "4", "8", "16", "1e-10", "0.5", "0.999", "1.3", "nan", "-inf", "4294967296", "1e39")

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class TooLong(Exception):
    """A case took more than its time."""


def main() -> None:
    start, count = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGVTALRM, _stop)
    warnings.simplefilter("error")
    graph = small_graph()
    for text in (*CFGS, *LAYER_CONFIGS):  # what is built once is not part of a case
        check_text(SourceFile("sample", text), graph)
    ends = {"rule set": 0, "resolved": 0, "diagnostic": 0}
    codes: set[str] = set()
    failures: list[dict[str, object]] = []
    slowest = (0.0, -1)
    for number in range(start, start + count):
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        source, flavour = make_case(Random(number))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            end, found = _end_of(source, graph, flavour)
            ends[end] += 1
            codes |= {diagnostic.code for diagnostic in found}
        except Exception as problem:
            where = traceback.format_exc().strip().splitlines()[-8:]
            failures.append({"case": number, "problem": repr(problem)[:300], "where": where})
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        spent = time.process_time() - began
        slowest = max(slowest, (round(spent, 2), number))
        if spent > SECONDS:
            failures.append({"case": number, "problem": f"{spent:.1f} s", "where": []})
    summary = {"cases": count, "ends": ends, "failures": failures, "codes": sorted(codes)}
    print(json.dumps(summary | {"slowest (s, case)": slowest}))


def _stop(signal_number: int, frame: FrameType | None) -> None:
    raise TooLong(f"more than {SECONDS} s")


def _end_of(source: SourceFile, graph: Graph, flavour: str | None) -> tuple[str, tuple[Diagnostic, ...]]:
    told = check_text(source, graph, flavour)
    for diagnostic in told:
        if not diagnostic.message or not diagnostic.code.startswith("AM"):
            raise ValueError("a diagnostic that says nothing")
        render(diagnostic)
        json.dumps(to_json(diagnostic))
    try:
        policy = Policy.from_text(source, flavour)
    except DiagnosticError:
        if not any(diagnostic.level is Level.ERROR for diagnostic in told):
            raise ValueError("an error that the check does not tell") from None
        return "diagnostic", told
    try:
        resolved = resolve(policy, graph)
    except DiagnosticError:
        return "rule set", told
    explain(resolved)
    if policy.flavour.kind == "ptq":
        to_layer_config(resolved)
    return "resolved", told


def make_case(rng: Random) -> tuple[SourceFile, str | None]:
    """The text of one case, and the flavour that is stated for it, if any."""
    flavour = rng.choice(tuple(FLAVOURS)) if rng.random() < 0.1 else None
    match rng.randrange(10):
        case 0 | 1 | 2:
            name, text = "policy.cfg", damaged_text(rng, rng.choice(CFGS), _cfg_words())
        case 3 | 4:
            name, text = "layers.json", damaged_text(rng, rng.choice(LAYER_CONFIGS), _json_words())
        case 5 | 6:
            made = random_message(rng, FLAVOURS[rng.choice(tuple(FLAVOURS))].descriptor, 0)
            name, text = "policy.cfg", made if rng.random() < 0.8 else damaged_text(rng, made, _cfg_words())
        case 7 | 8:
            loaded: Json = json.loads(rng.choice(LAYER_CONFIGS))
            for _ in range(rng.randint(1, 4)):
                loaded = damaged_value(rng, loaded)
            name, text = "layers.json", json.dumps(loaded, indent=rng.choice((None, 1)))
        case _:
            text = rng.choice((*CFGS, *LAYER_CONFIGS))
            name, text = "policy", damaged_text(rng, _blown_up(rng, text), _cfg_words())
    return SourceFile(name if rng.random() < 0.95 else "policy.json", text), flavour


def damaged_text(rng: Random, sample: str, words: tuple[str, ...]) -> str:
    """A text after one to six edits of its tokens."""
    tokens: list[str] = _TOKENS.findall(sample)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(tokens) + 1)
        end = at + rng.randint(1, _LONGEST)
        match rng.randrange(7):
            case 0 | 1:
                tokens[at : at + 1] = [rng.choice(words)]
            case 2:
                tokens[at:at] = [rng.choice(words)]
            case 3:
                del tokens[at:end]
            case 4:
                tokens[end:end] = tokens[at:end]
            case 5 if tokens:
                other = rng.randrange(len(tokens))
                tokens[at : at + 1] = [tokens[other]]
            case _:
                if rng.random() < 0.2:
                    del tokens[at:]
    return "".join(tokens)


def _blown_up(rng: Random, text: str) -> str:
    """A text with one of its lines repeated many times."""
    lines = text.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    return "".join((*lines[:at], lines[at] * rng.choice((2, 20, 500)), *lines[at + 1 :]))


def _cfg_words() -> tuple[str, ...]:
    names = {name for flavour in FLAVOURS.values() for name in _field_names(flavour.descriptor)}
    return (*sorted(names), *(f'"{name}"' for name in (*_LAYERS, *_ODD_NAMES)), *_NUMBERS, *WORDS)


def _json_words() -> tuple[str, ...]:
    return (*(f'"{word}"' for word in (*_LAYERS, *_ODD_NAMES, *_KEYS)), *_NUMBERS, *WORDS)


def _field_names(message: Descriptor) -> set[str]:
    found = set(message.fields_by_name)
    for field in message.fields:
        if field.message_type is not None:
            found |= _field_names(field.message_type)
    return found


def random_message(rng: Random, message: Descriptor, depth: int) -> str:
    """A text of fields of a message, with values that fit in most cases; some of them twice."""
    lines: list[str] = []
    for field in message.fields:
        if rng.random() < (0.99 if field.is_required else 0.35):
            most = 3 if field.is_repeated else 1
            count = rng.randint(1, most) if rng.random() < 0.97 else 2
            lines += [_random_field(rng, field, depth) for _ in range(count)]
    rng.shuffle(lines)
    return "\n".join(lines) + "\n"


def _random_field(rng: Random, field: FieldDescriptor, depth: int) -> str:
    if field.message_type is not None:
        inner = random_message(rng, field.message_type, depth + 1)
        return f"{field.name} {{\n{inner}}}"
    if field.enum_type is not None:
        return f"{field.name}: {_mostly(rng, rng.choice(list(field.enum_type.values_by_name)), 'OTHER')}"
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return f"{field.name}: {_mostly(rng, rng.choice(('true', 'false')), 'maybe')}"
        case FieldDescriptor.CPPTYPE_STRING:
            known = (
                _TYPES if "type" in field.name else ("uniform", "gaussian") if field.name == "init_algo" else _LAYERS
            )
            return f'{field.name}: "{_mostly(rng, rng.choice(known), rng.choice(_ODD_NAMES))}"'
        case FieldDescriptor.CPPTYPE_FLOAT:
            usual = f"{field.default_value:g}" if field.has_default_value else _USUAL.get(field.name, "0.9")
            return f"{field.name}: {_mostly(rng, usual, rng.choice(_NUMBERS))}"
        case _:
            usual = str(field.default_value) if field.has_default_value else _USUAL.get(field.name, "8")
            return f"{field.name}: {_mostly(rng, usual, rng.choice(_NUMBERS))}"


_USUAL = {"search_step": "0.02", "search_range_start": "0.6", "search_range_end": "1.4", "min_distance": "1e-5",
          "clip_min": "-3", "version": "1", "max_iteration": "600"}  # fmt: skip


def _mostly(rng: Random, usual: str, odd: str) -> str:
    return usual if rng.random() < 0.95 else odd


_KEYS = (
    *("version", "batch_num", "joint_quant", "skip_fusion_layers", "bn_update_config", "pass", "tensor_quantize"),
    *("quant_enable", "activation_quant_params", "weight_quant_params", "num_bits", "with_offset", "search_range"),
    *("wts_algo", "act_algo", "channel_wise", "init_algo", "retrain_enable", "dst_type", "kv_data_quant_config"),
)


def damaged_value(rng: Random, value: Json) -> Json:
    """JSON data with one value or key exchanged, added or taken out, somewhere in them."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        return _damaged_object(rng, value)
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], damaged_value(rng, value[at]), *value[at + rng.randrange(2) :]]
    values: list[Json] = [None, True, False, 0, 1, 8, -1, 1.5, 1e300, 10**400, "", "conv1", "INT8", "ifmr"]
    nested: list[Json] = [{}, [], [0.7, 1.3], {"num_bits": 8}, [{}, {}]]
    return rng.choice([*values, *nested])


def _damaged_object(rng: Random, value: Mapping[str, Json]) -> Json:
    key = rng.choice(list(value))
    changed = dict(value)
    match rng.randrange(6):
        case 0:
            del changed[key]
        case 1:
            changed[rng.choice((*_KEYS, *_LAYERS))] = changed[key]
        case _:
            changed[key] = damaged_value(rng, changed[key])
    return changed


def show(number: int) -> Any:
    """The case of a number, to look at."""
    source, flavour = make_case(Random(number))
    print(flavour, source.name)
    print(source.text)


if __name__ == "__main__":
    main()
