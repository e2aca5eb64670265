"""Warnings about BatchNorm statistics: renewed where there are none, or not where clustered weights move them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from amctc.diagnostics import Diagnostic, Label, Level
from amctc.dialects.table import op_table
from amctc.ir import Graph, Node
from amctc.policy.resolved import LayerConfig, Rule
from amctc.policy.rules import Policy
from amctc.policy.said import Said
from amctc.policy.settings import SNQ


def advise_bn_update(policy: Policy) -> Iterator[Diagnostic]:
    """AM274 for a `bn_update_config` that nothing follows."""
    said = policy.bn_update_config
    if said is None or _is_true(policy.update_bn):
        return
    yield Diagnostic(
        "AM274",
        "`bn_update_config` has no effect, because `update_bn` is not true",
        Level.WARNING,
        said.span,
        related=_off_here(policy),
        help="write `update_bn: true`, or take `bn_update_config` out",
    )


def advise_statistics(policy: Policy, layers: Mapping[str, LayerConfig], graph: Graph) -> Iterator[Diagnostic]:
    """AM273 for statistics to renew in a model without BatchNorm; AM275 where clustered weights need them renewed."""
    if _is_true(policy.update_bn):
        if policy.update_bn is not None and not any(map(_has_statistics, graph.nodes)):
            message = "`update_bn` is true, and the model has no BatchNorm layer whose statistics could be renewed"
            help = "take `update_bn` out; a model whose BatchNorm layers are folded already has none left"
            yield Diagnostic("AM273", message, Level.WARNING, policy.update_bn.span, help=help)
        return
    found = _first_moved(layers, graph)
    if found is None:
        return
    layer, rule, batch_norm = found
    yield Diagnostic(
        "AM275",
        f"`{SNQ}` moves the data that BatchNorm layers see, and their statistics are not renewed",
        Level.WARNING,
        rule.span,
        related=_off_here(policy),
        notes=(f"the first of them is `{batch_norm}`, behind `{layer}`",),
        help="write `update_bn: true`: without it the accuracy falls clearly",
    )


def clustered_by(config: LayerConfig) -> Rule | None:
    """The rule that clusters the weights of a layer, or None where they are not clustered."""
    if not config.quant_enable.value or config.weights is None or not config.weights.is_clustered:
        return None
    return config.weights.algorithm.rule


def _is_true(said: Said[bool] | None) -> bool:
    return said is not None and said.value


def _off_here(policy: Policy) -> tuple[Label, ...]:
    span = policy.update_bn.span if policy.update_bn is not None else None
    return (Label(span, "switched off here"),) if span is not None else ()


def _has_statistics(node: Node) -> bool:
    row = op_table().get(node.op)
    return row is not None and row.statistics is not None


def _first_moved(layers: Mapping[str, LayerConfig], graph: Graph) -> tuple[str, Rule, str] | None:
    """The first BatchNorm in graph order whose data come from a clustered layer; that layer, and its rule.

    Only rules of a policy file count: a record holds the factors of a model that is finished.
    """
    clustered = {name: rule for name, config in layers.items() if (rule := clustered_by(config)) and rule.span}
    if not clustered:
        return None
    moved: dict[str, str] = {}
    for node in graph.nodes:
        sources = (moved.get(value.producer.name) for value in graph.inputs_of(node))
        source = node.name if node.name in clustered else next(filter(None, sources), None)
        if source is None:
            continue
        if _has_statistics(node):
            return source, clustered[source], node.name
        moved[node.name] = source
    return None
