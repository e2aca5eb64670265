"""The six kinds of policy files: what each is called, its schemas, and which of them a file is."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from google.protobuf.descriptor import Descriptor

from amctc.diagnostics import error
from amctc.ir import Graph
from amctc.policy.json_schema import has_key, known_keys
from amctc.policy.said import nearest
from amctc.text.json_tree import JsonArray, JsonNode, JsonObject, JsonScalar
from amctc.text.proto_schema import load_schema
from amctc.text.prototext_tree import TextMessage

Kind: TypeAlias = Literal["ptq", "qat", "kv"]
KeyPath: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Flavour:
    """One policy language in its two forms: a message in `grammar/proto` and a JSON Schema in `grammar/schema`.

    `title` says what it is for. `kind` is post-training quantization (`ptq`), quantization-aware
    training (`qat`) or KV-cache quantization (`kv`). Two flavours are equal when their names are.
    """

    name: str
    title: str = field(compare=False)
    cfg_schema: str = field(compare=False, repr=False)
    cfg_message: str = field(compare=False, repr=False)
    json_schema: str = field(compare=False, repr=False)
    kind: Kind = field(compare=False, repr=False)

    @property
    def descriptor(self) -> Descriptor:
        """The message of a .cfg file."""
        return load_schema(self.cfg_schema).descriptor(self.cfg_message)


def _flavour(name: str, title: str, stem: str, message: str, kind: Kind) -> Flavour:
    return Flavour(name, title, f"{stem}.proto", f"{stem}.{message}", f"{stem}.schema.json", kind)


CAFFE: Final = _flavour("caffe", "post-training quantization of Caffe models", "amct_caffe_ptq", "AMCTConfig", "ptq")
PYTORCH: Final = _flavour(
    "pytorch", "post-training quantization of PyTorch and ONNX models", "amct_pytorch_ptq", "AMCTConfig", "ptq"
)
GE: Final = _flavour("ge", "post-training quantization of GE graphs", "amct_ge_ptq", "AMCTConfig", "ptq")
CAFFE_QAT: Final = _flavour(
    "caffe-qat", "quantization-aware training of Caffe models", "amct_caffe_qat", "AMCTRetrainConfig", "qat"
)
PYTORCH_QAT: Final = _flavour(
    "pytorch-qat", "quantization-aware training of PyTorch models", "amct_pytorch_qat", "AMCTRetrainConfig", "qat"
)
KV_CACHE: Final = _flavour("kv-cache", "KV-cache quantization", "amct_kv_cache", "AMCTQuantCaliConfig", "kv")

FLAVOURS: Mapping[str, Flavour] = MappingProxyType(
    {flavour.name: flavour for flavour in (CAFFE, PYTORCH, GE, CAFFE_QAT, PYTORCH_QAT, KV_CACHE)}
)
"""By name, in the order in which a file is compared with them."""


def flavour_named(name: str) -> Flavour:
    """The flavour of a name. Raises `DiagnosticError` AM231 where there is none."""
    found = FLAVOURS.get(name)
    if found is None:
        help = nearest(name, FLAVOURS) or "one of " + ", ".join(f"`{known}`" for known in FLAVOURS)
        raise error("AM231", f"there is no policy flavour `{name[:60]}`", help=help)
    return found


def flavour_of_format(format: str) -> Flavour:
    """The flavour that policies for models of a format (`caffe`, `onnx`, `ge`) are written in."""
    return {"onnx": PYTORCH, "ge": GE}.get(format, CAFFE)


def usual_flavour(graph: Graph | None) -> Flavour:
    """The flavour that policies for a graph are written in; Caffe's without one."""
    dialects = {node.dialect for node in graph.nodes} if graph is not None else set[str]()
    return next((flavour_of_format(dialect) for dialect in sorted(dialects) if dialect != "quant"), CAFFE)


def recognise(tree: TextMessage | JsonNode, stated: str | None = None, usual: Flavour = CAFFE) -> Flavour:
    """The flavour of a file: the stated one, or the first that knows all its fields, before others the usual one.

    Where none does, it is the one for which the fewest fields are unknown, of several the one that
    knows the most, and of these the first. Raises `DiagnosticError` AM231 for a stated name that no
    flavour has.
    """
    if stated is not None:
        return flavour_named(stated)
    best, best_score = usual, (sys.maxsize, 0)
    for flavour in sorted(FLAVOURS.values(), key=lambda flavour: flavour != usual):
        unknown, known = _knows(tree, flavour)
        score = unknown, -known
        if not unknown:
            return flavour
        if score < best_score:
            best, best_score = flavour, score
    return best


def _knows(tree: TextMessage | JsonNode, flavour: Flavour) -> tuple[int, int]:
    """How many fields of a file a flavour does not know, and how many it knows."""
    if isinstance(tree, JsonObject | JsonArray | JsonScalar):
        found = list(known_keys(tree, flavour.json_schema))
        return found.count(False), found.count(True)
    return _known_fields(tree, _shape_of(flavour.descriptor))


def _known_fields(tree: TextMessage, shape: _Shape) -> tuple[int, int]:
    """How many fields the message lacks and has, at any depth; what is in one that it lacks does not count."""
    unknown = known = 0
    for entry in tree.fields:
        if entry.name not in shape:
            unknown += 1
            continue
        known += 1
        inner = shape[entry.name]
        if inner is not None and isinstance(entry.value, TextMessage):
            inner_unknown, inner_known = _known_fields(entry.value, _shape_of(inner))
            unknown += inner_unknown
            known += inner_known
    return unknown, known


_Shape: TypeAlias = "Mapping[str, Descriptor | None]"
"""The fields of a message, and the messages that they are."""


@cache
def _shape_of(descriptor: Descriptor) -> _Shape:
    return {field.name: field.message_type for field in descriptor.fields}


def field_hint(flavour: Flavour, descriptor: Descriptor, name: str) -> str | None:
    """For a .cfg field that a message of the flavour lacks: which flavours have it there, or else anywhere.

    None where none has, or where the flavour itself has the field in another place.
    """
    others = [other for other in FLAVOURS.values() if other != flavour]
    here = [other for other in others if _has_field(other, descriptor, name, root=flavour.descriptor)]
    if not here and not _has_field_anywhere(flavour, name):
        here = [other for other in others if _has_field_anywhere(other, name)]
    return _owners(name, here, flavour)


def key_hint(flavour: Flavour, path: KeyPath, name: str) -> str | None:
    """For a JSON key that an object of the flavour, at a path, lacks: which flavours have it there, or None."""
    others = (other for other in FLAVOURS.values() if other != flavour)
    return _owners(name, [other for other in others if has_key(other.json_schema, path, name)], flavour)


def _has_field(other: Flavour, descriptor: Descriptor, name: str, root: Descriptor) -> bool:
    if descriptor.full_name == root.full_name:
        return name in other.descriptor.fields_by_name
    message = other.descriptor.file.message_types_by_name.get(descriptor.name)
    return message is not None and name in message.fields_by_name


def _has_field_anywhere(other: Flavour, name: str) -> bool:
    return any(name in message.fields_by_name for message in other.descriptor.file.message_types_by_name.values())


def _owners(name: str, owners: list[Flavour], flavour: Flavour) -> str | None:
    if not owners:
        return None
    names = [f"`{owner.name}`" for owner in owners]
    listed = f"flavours {', '.join(names[:-1])} and {names[-1]}"
    if len(owners) == 1:
        listed = f"flavour {names[0]} ({owners[0].title})"
    return f"`{name[:60]}` belongs to the {listed}; this file is read as `{flavour.name}`"
