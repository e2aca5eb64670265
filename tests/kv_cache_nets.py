"""The network of the recorded KV-cache runs, as ONNX, and what the real AMCT wrote for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from tests.onnx_nets import make_model
from tests.shared_files import GOLDEN

RECORDED = GOLDEN / "amct_pytorch" / "kv"
CASES = ("kv_default", "kv_hfmg", "kv_hfmg_perchannel", "kv_ifmr_b3", "kv_ifmr_perchannel")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")

ULPS = 1
"""By so many of float32 a scale of IFMR may differ: the ratios that are tried come from `torch.arange` in AMCT, whose
last bit depends on the processor. One of the 68 recorded scales does."""


def arrays(case: str) -> dict[str, NDArray[np.float32]]:
    """The weights of a case under their names in torch, the batches `x`, and what was recorded of them."""
    with np.load(RECORDED / case / "data.npz") as file:
        return {name.removeprefix("w."): file[name] for name in file}


def made_up(width: int = 16, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of the same form, and three batches."""
    rng = np.random.default_rng(seed)
    found = {"x": rng.normal(size=(3, 4, 9, width)).astype(np.float32)}
    for name in PROJECTIONS:
        found[f"{name}.weight"] = (rng.normal(size=(width, width)) / np.sqrt(width)).astype(np.float32)
        found[f"{name}.bias"] = rng.normal(size=width).astype(np.float32)
    return found


def attention(found: dict[str, NDArray[np.float32]]) -> ModelProto:
    """One head of attention with a MatMul and an Add for each projection, named as the modules are."""
    width = found["x"].shape[-1]
    shape = f"float[4, 9, {width}]"
    lines = [f"{name}_o = MatMul(x, {name}_w)  {name}_y = Add({name}_b, {name}_o)" for name in PROJECTIONS[:3]]
    lines += ["t = Transpose<perm = [0, 2, 1]>(k_proj_y)", "s = MatMul(q_proj_y, t)", "n = Mul(s, half)"]
    lines += ["p = Softmax<axis = -1>(n)", "a = MatMul(p, v_proj_y)"]
    lines += ["o_proj_o = MatMul(a, o_proj_w)", "y = Add(o_proj_o, o_proj_b)"]
    weights: dict[str, NDArray[Any]] = {"half": np.float32(width**-0.5).reshape(1)}
    for name in PROJECTIONS:
        weights[f"{name}_w"] = np.ascontiguousarray(found[f"{name}.weight"].T)
        weights[f"{name}_b"] = found[f"{name}.bias"]
    model = make_model(f"({shape} x) => ({shape} y)", "  ".join(lines), weights)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.output[0].endswith("_o"):
            node.name = node.output[0].removesuffix("_o")
    return model


def policy_of(case: str, folder: Path) -> Path:
    """The .cfg of a case, or what its arguments mean."""
    given = RECORDED / case / "quant.cfg"
    if given.exists():
        return given
    layers = json.loads((RECORDED / case / "info.json").read_text())["quant_layers"]["kv_cache_quant_layers"]
    path = folder / "kv.cfg"
    path.write_text(f"kv_cache_quant_config {{ quant_layers: {json.dumps(layers)} }}")
    return path


def same_record(mine: str, theirs: str) -> Iterator[str]:
    """The lines in which two records differ by more than the last bit of a scale; AssertionError for other forms."""
    for one, other in zip(mine.splitlines(), theirs.splitlines(), strict=True):
        if one == other:
            continue
        numbers = [np.float32(line.removeprefix("    scale: ")) for line in (one, other)]
        if abs(int(numbers[0].view(np.int32)) - int(numbers[1].view(np.int32))) > ULPS:
            yield f"{one} instead of {other}"
