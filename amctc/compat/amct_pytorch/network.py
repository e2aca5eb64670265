"""Which layers of a module AMCT's configs speak of, and what a policy gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import torch
from torch import nn

from amctc.compat.amct_pytorch.exported import Exported, exported
from amctc.diagnostics import Collector, Diagnostic, error
from amctc.dialects.table import op_def
from amctc.ir import Graph
from amctc.modules.wrapped import is_rewritten
from amctc.plugins import load_plugins
from amctc.policy import Policy, Resolved, ResolvedPolicy, Rule, resolve
from amctc.policy.layer_types import limits_of

QUANTIZED: Final = (
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Linear",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "AvgPool2d",
)
"""Types of modules that can be quantized."""

_FOLDED: Final = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")


@dataclass(frozen=True, eq=False)
class Network:
    """A module and what torch exports it as."""

    module: nn.Module
    exported: Exported
    inputs: tuple[object, ...]
    """What the module was exported with."""

    @classmethod
    def of(
        cls,
        model: object,
        input_data: object,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
    ) -> Network:
        """Raises `DiagnosticError`: AM630 for what is no module and no input, AM950 for a module that is rewritten
        already, AM957 for a layer alone, and what exporting finds (AM480, AM481).
        """
        if not isinstance(model, nn.Module):
            raise error("AM630", f"`model` is of type `{type(model).__name__}`, but must be a torch.nn.Module")
        if not isinstance(input_data, torch.Tensor | tuple | list):
            help = "give the tensors that `model` is called with, as a tuple"
            message = f"`input_data` is of type `{type(input_data).__name__}`, but must be a tensor or a tuple"
            raise error("AM630", message, help=help)
        if is_rewritten(model):
            help = "give the module as it was before: it has not been changed"
            raise error("AM950", "this module has layers in amctc's wrappers already", help=help)
        if type(model).__name__ in QUANTIZED:
            help = "put it into another: `torch.nn.Sequential(model)`"
            raise error("AM957", f"`model` is itself a layer ({type(model).__name__}), which has no name", help=help)
        load_plugins(())
        data: Any = input_data
        given = (data,) if isinstance(data, torch.Tensor) else tuple(data)
        return cls(model, exported(model, given, input_names, output_names, dynamic_axes), given)

    @cached_property
    def layers(self) -> Mapping[str, str]:
        """The qualified names of the modules that can be quantized or folded, by those of their nodes.

        None that is called several times, and none whose weight is computed from other parameters.
        """
        nodes = self.exported.nodes
        calls = Counter(node.module for node in nodes.values())
        return {
            name: node.module
            for name, node in nodes.items()
            if calls[node.module] == 1
            and node.type in (*QUANTIZED, *_FOLDED)
            and isinstance(getattr(self.module.get_submodule(node.module), "weight", None), nn.Parameter | None)
        }

    @cached_property
    def quantizable(self) -> Mapping[str, str]:
        """The same of those layers alone that can be quantized.

        A convolution that pads with anything but zeros is another layer and a convolution behind it; it has to stay.
        """
        return {
            name: module
            for name, module in self.layers.items()
            if self.exported.nodes[name].type in QUANTIZED
            and getattr(self.module.get_submodule(module), "padding_mode", "zeros") == "zeros"
        }

    def graph(self) -> Graph:
        """The float graph, anew, with the shapes that the example gives its values."""
        graph = self.exported.load(Collector())
        shapes = self.exported.shapes(self.inputs)
        for value in (value for node in graph.nodes for value in node.outputs):
            value.shape = value.shape or shapes.get(value.blob)
        return graph

    def resolve(self, policy: Policy) -> ResolvedPolicy:
        """What a policy gives the layers that can be quantized.

        Raises `DiagnosticError`: what `resolve` finds, AM227 for a scale for each channel where AMCT has one for all,
        AM224 where no layer is left.
        """
        resolved = resolve(policy, self.exported.graph)
        kept = {name: config for name, config in resolved.layers.items() if name in self.quantizable}
        self._refuse_channel_wise(replace(resolved, layers=kept))
        if not any(config.quant_enable.value for config in kept.values()):
            help = "let at least one module of these types be quantized: " + ", ".join(QUANTIZED)
            raise error("AM224", f"no layer is left to quantize, of {len(kept)} that could be", help=help)
        return replace(resolved, layers=kept)

    def for_passes(self, resolved: ResolvedPolicy) -> ResolvedPolicy:
        """The same where nothing is folded that is no module: in the module it would still be computed."""
        folded = {name for name in self.layers if self.exported.nodes[name].type in _FOLDED}
        rule = Rule("what no module computes is not folded")
        apart = [node.name for node in self.exported.graph.nodes if op_def(node).affine is not None]
        more = tuple(Resolved(name, rule) for name in apart if name not in folded)
        general = resolved.general
        return replace(resolved, general=replace(general, skip_fusion_layers=(*general.skip_fusion_layers, *more)))

    def _refuse_channel_wise(self, resolved: ResolvedPolicy) -> None:
        collector = Collector()
        for name, config in resolved.layers.items():
            node = self.exported.graph.node(name)
            limits = limits_of(node, op_def(node))
            weights = config.weights or config.idle_weights
            if weights is None or limits is None or limits.channel_wise:
                continue
            wise = weights.channel_wise
            # For a type without weights it has given way by now, and the rule tells so.
            if wise.value or wise.rule.kind.startswith("limit of"):
                message = f"layer `{name}` is a `{limits.type}`, which has one scale for all its weights"
                help = f"write `channel_wise: false` for the type `{limits.type}`"
                collector.add(Diagnostic("AM227", message, span=wise.rule.span, help=help))
        collector.raise_errors()
