"""What a model tells of itself: which program wrote it, from which policy, and what was done to each layer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from amctc.ir import Graph, Node
from amctc.pipeline.emission import Emission

if TYPE_CHECKING:
    from onnx import ModelProto

PREFIX = "amctc."
_FORM = f"{PREFIX}form"


def describe(model: ModelProto, graph: Graph, emission: Emission, form: str | None = None) -> None:
    """Write producer and metadata into a model; those of the source stay.

    `amctc.form` is the form of a quantized model: `deploy`, `fake_quant` or `qdq`.

    `amctc.provenance` is JSON: by the name of each layer that a pass made or changed, what was done, by which pass
    and after which rule of the policy.
    """
    name, _, version = emission.tool.partition(" ")
    model.producer_name, model.producer_version = name, version
    entries: dict[str, str] = {}
    entries.update((key, value) for key, value in kept_metadata(graph).items() if not key.startswith(PREFIX))
    entries[f"{PREFIX}version"] = version
    if form is not None:
        entries[_FORM] = form
    if emission.policy_sha256 is not None:
        entries[f"{PREFIX}policy_sha256"] = emission.policy_sha256
    if emission.pipeline is not None:
        entries[f"{PREFIX}pipeline"] = emission.pipeline
    told = {node.name: _told(node) for node in graph.nodes if node.provenance.changes}
    if told:
        entries[f"{PREFIX}provenance"] = json.dumps(told, ensure_ascii=False, sort_keys=True)
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)


def form_of(graph: Graph) -> str | None:
    """The form of a quantized model that `describe` has written into the file a graph was read from, if it has."""
    return kept_metadata(graph).get(_FORM)


def kept_metadata(graph: Graph) -> dict[str, str]:
    """The metadata of the source."""
    kept = graph.attrs.get("metadata")
    pairs = (str(text).partition("=") for text in kept) if isinstance(kept, tuple) else ()
    return {key: value for key, _, value in pairs}


def _told(node: Node) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for change in node.provenance.changes:
        entry = {"by": change.by, "what": change.what}
        if change.rule is not None:
            entry["rule"] = change.rule
        found.append(entry)
    return found
