"""What the names and patterns of a policy stand for in one graph, and whether they may."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, TypeVar

from amctc.diagnostics import Collector, Diagnostic
from amctc.dialects.onnx.generic import ONNX, is_known_type
from amctc.dialects.op import OpDef, Quantizable
from amctc.dialects.table import op_def, ops_of
from amctc.ir import Graph, Node
from amctc.policy.json_schema import parameter_names
from amctc.policy.layer_types import TORCH_LIMITS, TypeLimits, has_torch_types, limits_of, types_of
from amctc.policy.rules import LayerRule, Override, Policy
from amctc.policy.said import Said, nearest
from amctc.policy.selectors import Entry, Selection, select

T = TypeVar("T")

_MOST_SUGGESTIONS = 50  # finding the nearest name is slow in a file where every name is wrong


class Candidate(NamedTuple):
    """A layer that can be quantized; `types` are all names of its type, `limits` what its type cannot have."""

    node: Node
    row: OpDef
    quantizable: Quantizable
    types: tuple[str, ...]
    limits: TypeLimits | None

    @property
    def limited_type(self) -> str:
        """The name of the type in a rule that says what it cannot have."""
        return self.limits.type if self.limits is not None else self.node.type


class Names:
    """The lists of one policy, by the layers and types of one graph that they stand for."""

    def __init__(self, policy: Policy, graph: Graph) -> None:
        self._policy = policy
        self._graph = graph

    @cached_property
    def quantizable(self) -> Mapping[str, Candidate]:
        """The layers that can be quantized, in graph order."""
        found: dict[str, Candidate] = {}
        for node in self._graph.nodes:
            row = op_def(node)
            if row.quantizable is not None and (row.quantizable.weights or not _reads_halves(node)):
                found[node.name] = Candidate(node, row, row.quantizable, types_of(node, row), self._limits(node, row))
        return found

    def _limits(self, node: Node, row: OpDef) -> TypeLimits | None:
        limits = limits_of(node, row)
        return replace(limits, wide=True) if limits is not None and self._policy.is_recorded else limits

    @cached_property
    def by_types(self) -> Mapping[tuple[str, ...], list[Candidate]]:
        """The layers that can be quantized by all the names of their types."""
        found: dict[tuple[str, ...], list[Candidate]] = {}
        for candidate in self.quantizable.values():
            found.setdefault(candidate.types, []).append(candidate)
        return found

    def kinds(self, types: Iterable[str]) -> list[tuple[str, ...]]:
        """All names that layers of these types have for theirs, each once; a type that no layer has stands alone."""
        return list(dict.fromkeys(names for kind in types for names in self._kinds.get(kind, [(kind,)])))

    @cached_property
    def _kinds(self) -> Mapping[str, list[tuple[str, ...]]]:
        found: dict[str, list[tuple[str, ...]]] = {}
        for types in self.by_types:
            for kind in types:
                found.setdefault(kind, []).append(types)
        return found

    @cached_property
    def fusable(self) -> Mapping[str, OpDef]:
        """Linear layers take others in, and BatchNorm, Scale and Bias go in (seed 001, 工具实现的融合功能).

        Clean-ups merge layers of other types as well.
        """
        rows = ((node.name, op_def(node)) for node in self._graph.nodes)
        return {name: row for name, row in rows if _takes_part_in_fusion(row)}

    @cached_property
    def types(self) -> Mapping[str, OpDef | None]:
        """The ops of the graph's dialects and layers by type, under all the names that a layer has for its own.

        Of several for one type it is one that can be quantized. None for PyTorch's types that no layer has.
        """
        found: dict[str, OpDef | None] = {row.type: row for row in ops_of(self._dialects).values()}
        for node in self._graph.nodes:
            row = op_def(node)
            for name in types_of(node, row):
                if (known := found.get(name)) is None or known.quantizable is None:
                    found[name] = row
        if has_torch_types(self._dialects):
            found = {**dict.fromkeys(TORCH_LIMITS), **found}
        return found

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """What is no layer in a JSON layer config of the policy's flavour."""
        return parameter_names(self._policy.flavour.json_schema)

    @cached_property
    def quantizable_types(self) -> Collection[str]:
        return dict.fromkeys(kind for kind, row in self.types.items() if row is None or row.quantizable is not None)

    def is_type(self, name: str) -> bool:
        """Whether a layer of such a graph could be of this type, quantized or not."""
        return name in self.types or (ONNX in self._dialects and is_known_type(name))

    @cached_property
    def _dialects(self) -> frozenset[str]:
        return frozenset(node.dialect for node in self._graph.nodes) - {"quant"}

    @cached_property
    def layer_names(self) -> frozenset[str]:
        return frozenset(node.name for node in self._graph.nodes)

    @cached_property
    def skip_layers(self) -> Selection[Said[str]]:
        return self._of_layers("skip_layers", ((name, name) for name in self._policy.skip_layers))

    @cached_property
    def skip_types(self) -> Selection[Said[str]]:
        return self._of_types("skip_layer_types", ((name, name) for name in self._policy.skip_layer_types))

    @cached_property
    def skip_fusion(self) -> Selection[Said[str]]:
        listed = ((name, name) for name in self._policy.skip_fusion_layers)
        return select(listed, "`skip_fusion_layers`", self.fusable, self.layer_names)

    @cached_property
    def by_name(self) -> Selection[Override]:
        overrides = self._policy.override_layer_configs
        return self._of_layers("override_layer_configs", ((override.name, override) for override in overrides))

    @cached_property
    def by_type(self) -> Selection[Override]:
        overrides = self._policy.override_layer_types
        return self._of_types("override_layer_types", ((override.name, override) for override in overrides))

    @cached_property
    def json_layers(self) -> Selection[LayerRule]:
        entries = ((layer.name, layer) for layer in self._policy.layers or ())
        return select(entries, "the entries of layers", self.quantizable, self.layer_names)

    def _of_layers(self, where: str, items: Iterable[tuple[Said[str], T]]) -> Selection[T]:
        return select(items, f"`{where}`", self.quantizable, self.layer_names)

    def _of_types(self, where: str, items: Iterable[tuple[Said[str], T]]) -> Selection[T]:
        return select(items, f"`{where}`", self.quantizable_types, self.types)


def _reads_halves(node: Node) -> bool:
    """Whether a layer reads float16: AMCT leaves poolings and sums of such data as they are."""
    return any(value.dtype == "float16" for value in node.inputs)


def _takes_part_in_fusion(row: OpDef) -> bool:
    return any(trait is not None for trait in (row.linear, row.affine, row.reshaping, row.permuting))


def check_names(names: Names, graph: Graph, collector: Collector) -> None:
    """Report every name that is wrong (AM220 to AM223, AM228) and every pattern that is (AM234)."""
    _NameChecker(names, graph, collector).check()


class _NameChecker:
    def __init__(self, names: Names, graph: Graph, collector: Collector) -> None:
        self._names = names
        self._graph = graph
        self._collector = collector
        self._suggestions = 0

    def check(self) -> None:
        names = self._names
        for selection in (names.skip_layers, names.skip_types, names.by_name, names.by_type, names.skip_fusion):
            self._collector.extend(selection.problems)
        self._collector.extend(names.json_layers.problems)
        for skip in names.skip_layers.entries:
            self._quantizable_layer(skip)
        for override in names.by_name.entries:
            self._quantizable_layer(override)
        for skip in names.skip_types.entries:
            self._quantizable_type(skip)
        for override in names.by_type.entries:
            self._quantizable_type(override)
        for skip in names.skip_fusion.entries:
            self._fusable_layer(skip)
        for layer in names.json_layers.entries:
            self._json_layer(layer)

    def _quantizable_layer(self, entry: Entry[T]) -> None:
        name = entry.name
        if entry.pattern:
            self._pattern(entry, "quantized")
        elif name.value not in self._names.layer_names:
            help = self._nearest(name, self._names.quantizable)
            self._report("AM220", f"the model has no layer `{name.value}`", name, help)
        elif name.value not in self._names.quantizable:
            self._not_quantizable(name)

    def _json_layer(self, entry: Entry[LayerRule]) -> None:
        name = entry.name
        if entry.pattern or name.value in self._names.layer_names:
            self._quantizable_layer(entry)
            return
        message = f"`{name.value}` is neither a layer of the model nor a parameter"
        help = self._nearest(name, (*self._names.quantizable, *self._names.parameters))
        self._report("AM228", message, name, help)

    def _not_quantizable(self, name: Said[str]) -> None:
        kind = self._graph.node(name.value).type
        help = "`amctc ops` lists the types that can be quantized"
        self._report("AM221", f"layer `{name.value}` is of type `{kind}`, which cannot be quantized", name, help)

    def _quantizable_type(self, entry: Entry[T]) -> None:
        name = entry.name
        help = "`amctc ops` lists the types that can be quantized"
        if entry.pattern:
            if not entry.matched:
                self._report("AM222", f"no layer type that can be quantized matches `{name.value}`", name, help)
        elif not self._names.is_type(name.value):
            known = self._nearest(name, self._names.quantizable_types)
            self._report("AM222", f"there is no layer type `{name.value}`", name, known)
        elif name.value not in self._names.quantizable_types:
            self._report("AM221", f"layers of type `{name.value}` cannot be quantized", name, help)

    def _fusable_layer(self, entry: Entry[T]) -> None:
        name = entry.name
        if entry.pattern:
            self._pattern(entry, "fused")
        elif name.value not in self._names.layer_names:
            help = self._nearest(name, sorted(self._names.fusable))
            self._report("AM220", f"the model has no layer `{name.value}`", name, help)
        elif name.value not in self._names.fusable:
            kind = self._graph.node(name.value).type
            help = "take it out of `skip_fusion_layers`"
            self._report("AM223", f"layer `{name.value}` is of type `{kind}`, which is never fused", name, help)

    def _pattern(self, entry: Entry[T], done: str) -> None:
        """Report a pattern that stands for no layer."""
        if entry.matched:
            return
        message = f"no layer of the model that can be {done} matches `{entry.name.value}`"
        help = "a pattern covers the whole name: write `*` where more may stand"
        self._report("AM220", message, entry.name, help if entry.name.value.startswith("glob:") else None)

    def _nearest(self, name: Said[str], known: Iterable[str]) -> str | None:
        self._suggestions += 1
        return nearest(name.value, known) if self._suggestions <= _MOST_SUGGESTIONS else None

    def _report(self, code: str, message: str, name: Said[str], help: str | None) -> None:
        self._collector.add(Diagnostic(code, message, span=name.span, help=help))


def first_skip(names: Iterable[Said[str]]) -> Said[str] | None:
    """The first name that stands in a file."""
    return next((name for name in names if name.span is not None), None)
