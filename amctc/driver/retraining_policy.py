"""The policy that a model is trained with quantization by, and what it means for the layers."""

from __future__ import annotations

from pathlib import Path

from amctc.diagnostics import Collector, error
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.policy.flavours import CAFFE_QAT
from amctc.policy.resolve_training import ResolvedTraining, resolve_training


def training_policy(file: str | Path) -> Policy:
    """The policy of training in a file: of the manual's flavour, or of the one that says types in place of bits.

    Raises `DiagnosticError` as reading a policy does.
    """
    policy = Policy.from_file(file, usual=CAFFE_QAT)
    return policy if policy.training is not None else Policy.from_file(file, CAFFE_QAT.name)


def resolved_training(policy: Policy, graph: Graph, file: str | Path | None, collector: Collector) -> ResolvedTraining:
    """What the layers get; `file` is that of the policy, for messages.

    Raises `DiagnosticError` for the mistakes that `resolve_training` finds, and for a policy that leaves no layer
    (AM638).
    """
    training = resolve_training(policy, graph, collector)
    collector.raise_errors()
    if not training.layers:
        help = "set `retrain_enable` to true for at least one layer"
        message = "the config leaves no layer to be trained with quantization"
        raise error("AM638", message, file=str(file) if file is not None else None, help=help)
    return training
