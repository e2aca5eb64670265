"""`tensor_quantize`: single inputs of layers without weights that are quantized on their own."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.diagnostics import Collector, Diagnostic
from amctc.policy.advice import in_vain_of
from amctc.policy.names import Names
from amctc.policy.resolved import Resolved, Rule, TensorConfig
from amctc.policy.rules import DataRule, Policy, TensorRule
from amctc.policy.said import Said, nearest
from amctc.policy.values import Choice, input_configs

TENSOR = "tensor_quantize"


def check_tensor_rules(names: Names, policy: Policy, collector: Collector) -> None:
    """Report layers that the model lacks (AM220) or that have no such input to quantize (AM221)."""
    for tensor in policy.tensor_quantize:
        found = _problem(names, tensor)
        if found is not None:
            collector.add(found)


def _problem(names: Names, tensor: TensorRule) -> Diagnostic | None:
    name, index = tensor.layer_name, tensor.input_index
    if name.value not in names.layer_names:
        known = [each for each, candidate in names.quantizable.items() if not candidate.quantizable.weights]
        return Diagnostic(
            "AM220", f"the model has no layer `{name.value}`", span=name.span, help=nearest(name.value, known)
        )
    candidate = names.quantizable.get(name.value)
    if candidate is None:
        message = f"the inputs of layer `{name.value}` cannot be quantized on their own"
        help = f"`{TENSOR}` is for poolings, additions and sums; `amctc ops` lists the types that can be quantized"
        return Diagnostic("AM221", message, span=name.span, help=help)
    if candidate.quantizable.weights:
        message = f"the input of layer `{name.value}` is quantized together with its weights, not on its own"
        return Diagnostic("AM221", message, span=name.span, help="override the layer in `override_layer_configs`")
    count = len(candidate.node.inputs)
    if index.value not in candidate.row.data_inputs(candidate.node):
        message = f"layer `{name.value}` has no input {index.value} that can be quantized"
        help = f"it has {count} input{'s' if count != 1 else ''}, numbered from 0"
        return Diagnostic("AM221", message, span=index.span, help=help)
    return None


def tensor_configs(
    names: Names, policy: Policy, offset: Resolved[bool], common: DataRule | None, collector: Collector
) -> Mapping[str, tuple[TensorConfig, ...]]:
    """The config of each such input, by layer; AM225, a warning, for one of a layer that a skip list leaves out.

    What a rule does not say is a built-in default, as in an override.
    """
    found: dict[str, tuple[TensorConfig, ...]] = {}
    for tensor in policy.tensor_quantize:
        name = tensor.layer_name
        skipped = _skip_of(names, name.value)
        if skipped is not None:
            where, skip = skipped
            collector.extend((in_vain_of(name, "layer", skip, where),))
            continue
        rule = Rule(TENSOR, name.span)
        default = Rule(f"built-in default of {TENSOR}")
        (config,) = input_configs((tensor.input_index.value,), Choice(rule, (tensor.data,)), offset, common, default)
        found[name.value] = (*found.get(name.value, ()), TensorConfig(config, rule))
    return found


def _skip_of(names: Names, layer: str) -> tuple[str, Said[str]] | None:
    entry = names.skip_layers.first(layer)
    if entry is not None:
        return "skip_layers", entry.name
    kind = names.skip_types.first(*names.quantizable[layer].types)
    return ("skip_layer_types", kind.name) if kind is not None else None
