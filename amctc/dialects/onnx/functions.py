"""Ops that ONNX defines by other ops, and models with these in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amctc.dialects.onnx.library import onnx_errors
from amctc.dialects.onnx.subgraphs import all_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

_STANDARD = ("", "ai.onnx")
_PREVIEW = "ai.onnx.preview"
_LACKING = frozenset({"Swish"})
"""Functions that ONNX Runtime neither has nor takes apart in every opset."""


def lacking_functions(model: ModelProto, opset: int, newer: bool = False) -> set[tuple[str, str]]:
    """Domains and names of the ops in a model that ONNX Runtime lacks, and that ONNX defines by others.

    With `newer` also those that an opset after `opset` has brought, or has changed.
    """
    from onnx import defs

    versions = {entry.domain: entry.version for entry in model.opset_import}
    found: set[tuple[str, str]] = set()
    for domain, name in {(node.domain, node.op_type) for node in all_nodes(model.graph)}:
        if domain not in (*_STANDARD, _PREVIEW):
            continue
        try:
            schema: Any = defs.get_schema(name, versions.get(domain, opset), "" if domain in _STANDARD else domain)
        except onnx_errors():
            continue
        if not (schema.has_function or schema.has_context_dependent_function):
            continue
        if domain == _PREVIEW or name in _LACKING or (newer and schema.since_version > opset):
            found.add((domain, name))
    return found


def inlined(model: ModelProto, functions: set[tuple[str, str]]) -> ModelProto:
    """The model without functions of its own, and with what these ops are defined by in their place."""
    from onnx import inliner

    if model.functions:
        model = inliner.inline_local_functions(model)
    if functions:
        model = inliner.inline_selected_functions(model, sorted(functions), inline_schema_functions=True)
    return model


def is_older(model: ModelProto, opset: int) -> bool:
    """Whether every op of the model means in this older opset what it means in the model's own."""
    from onnx import defs

    version = max(entry.version for entry in model.opset_import if entry.domain in _STANDARD)
    names = {node.op_type for node in all_nodes(model.graph) if node.domain in _STANDARD}
    try:
        return all(defs.get_schema(name, version, "").since_version <= opset for name in names)
    except onnx_errors():
        return False
