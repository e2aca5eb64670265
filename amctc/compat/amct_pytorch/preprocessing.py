"""Balancing channels before a calibration (DMQ): quantize_preprocess."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from amctc.compat import arguments
from amctc.compat.amct_pytorch.balance import wanted_balances
from amctc.compat.amct_pytorch.calibration import begin, read_config
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.compat.amct_pytorch.network import Network
from amctc.compat.amct_pytorch.plan import Plan, Rewriting
from amctc.diagnostics import error
from amctc.dialects.scaling import channel_magnitudes, data_channels
from amctc.ir import Graph
from amctc.modules.channel_ranges import ChannelMagnitudes
from amctc.modules.watching import watch
from amctc.modules.weights import take_weights
from amctc.output import write_files
from amctc.policy import ResolvedPolicy
from amctc.quant.balancing import balance_factors
from amctc.records.pytorch_record import pytorch_record_text
from amctc.records.scale_record import LayerRecord


@told_as_amct
def quantize_preprocess(config_file: str, record_file: str, model: nn.Module, input_data: Any) -> nn.Module:
    """A copy of a module that finds the factors of balanced channels as it runs, for the config's `dmq_balancer`.

    Every batch writes `tensor_balance_factor` into the record: after the first it is what AMCT finds, after several
    that of the largest magnitudes of all. Then `quantize_model` takes the same config and record. The module itself is
    left as it was. Raises RuntimeError where no layer has a balancer.
    """
    config = arguments.path("config_file", config_file)
    path = Path(arguments.path("record_file", record_file)).absolute()
    network = Network.of(model, input_data)
    resolved = read_config(config, network)
    names = wanted_balances(resolved)
    if not names:
        help = "say it in the .cfg: `common_config { dmq_balancer { } }`; or leave this step out"
        raise error("AM956", "no layer of this config has a `dmq_balancer`", file=config, help=help)
    rewriting = Rewriting(lambda: begin(network, resolved))
    rewriting.run(Plan.of(resolved).fold)
    graph = rewriting.graph
    axes = {name: _axis(graph, name) for name in names}

    def seen(magnitudes: Mapping[str, NDArray[np.float32]]) -> None:
        entries = [_entry(graph, name, magnitudes[name], resolved) for name in axes if name in magnitudes]
        write_files({path: pytorch_record_text(entries).encode()})
        log.info("quantize_preprocess", f"the factors of {len(entries)} layers are saved in {path}")

    rewritten = copy.deepcopy(network.module).eval()
    take_weights(rewritten, graph, network.layers)
    watch(rewritten, {name: network.layers[name] for name in names}, ChannelMagnitudes(axes, seen), around=told_as_amct)
    write_files({path: b""})
    return rewritten


def _axis(graph: Graph, name: str) -> int:
    found = data_channels(graph.node(name))
    if isinstance(found, str):
        help = "give the layer an override without `dmq_balancer`"
        raise error("AM279", f"layer `{name}` cannot be balanced: {found}", help=help)
    return found[0]


def _entry(graph: Graph, name: str, data: NDArray[np.float32], policy: ResolvedPolicy) -> LayerRecord:
    strength = policy.layers[name].migration_strength
    weights = channel_magnitudes(graph.node(name), len(data)).max(axis=1, initial=0).reshape(-1)
    factors = balance_factors(data, weights, strength.value if strength is not None else 0, name)
    return LayerRecord(name, balance=tuple(factors.tolist()))
