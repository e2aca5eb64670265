"""What a compilation with a policy of KV-cache quantization writes: the record, and a report beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from amctc.dialects.traits import biased_output
from amctc.ir import Graph
from amctc.output import output_paths
from amctc.policy import ResolvedPolicy
from amctc.quant.ifmr import IfmrResult
from amctc.records.kv_cache import KvCacheRecord
from amctc.records.scale_record import LayerRecord, record_text

RECORD = "kv_cache_record.txt"
REPORT = "kv_cache.json"
REPORT_VERSION = 1


def kv_cache_files(
    graph: Graph, grids: Mapping[str, tuple[IfmrResult, ...]], policy: ResolvedPolicy, output: str | Path
) -> dict[Path, bytes]:
    """The files by their paths; nothing is written. See docs/kv-cache.md for the report."""
    endings = {RECORD: kv_record(grids).encode(), REPORT: _report(graph, grids, policy).encode()}
    return output_paths(output, endings)


def kv_record(grids: Mapping[str, tuple[IfmrResult, ...]]) -> str:
    """The record of outputs, a `kv_cache_value` for each layer, in the order of the mapping."""
    return record_text(LayerRecord(name, kv_cache=KvCacheRecord.of(found)) for name, found in grids.items())


def _report(graph: Graph, grids: Mapping[str, tuple[IfmrResult, ...]], policy: ResolvedPolicy) -> str:
    layers = [_layer(graph, policy, name, found) for name, found in grids.items()]
    root = {"version": REPORT_VERSION, "batch_num": policy.batch_num, "layers": layers}
    return json.dumps(root, indent=2) + "\n"


def _layer(graph: Graph, policy: ResolvedPolicy, name: str, grids: tuple[IfmrResult, ...]) -> dict[str, object]:
    config = policy.kv_cache[name]
    return {
        "name": name,
        "type": config.type,
        "value": biased_output(graph.node(name)).blob,
        "algorithm": config.output.algorithm.value,
        "granularity": config.granularity.value,
        "bits": config.output.num_bits.value,
        "because_of": str(config.rule),
        "grids": list(map(_grid, grids)),
    }


def _grid(found: IfmrResult) -> dict[str, object]:
    return {
        "scale": float(found.scale),
        "offset": found.offset,
        "clip": [found.clip_min, found.clip_max],
        "range": [found.init_min + 0.0, found.init_max + 0.0],
        "mean_squared_error": found.loss,
    }
