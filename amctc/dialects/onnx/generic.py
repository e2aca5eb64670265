"""ONNX ops that have no row of their own: they pass through, and are never quantized."""

from __future__ import annotations

from functools import lru_cache

from amctc.dialects.custom import infer_registered
from amctc.dialects.onnx.inference import infer_dtypes, infer_shapes
from amctc.dialects.onnx.operands import schema_of, split_type
from amctc.dialects.op import Arity, OpDef

ONNX = "onnx"
"""The name of the dialect."""
_ANY = Arity(0, None)
_RANDOM = ("Random", "Multinomial", "Bernoulli")
_RUNTIME_DOMAINS = frozenset({"", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
"""Domains whose ops ONNX Runtime has kernels for."""


@lru_cache(maxsize=1024)
def generic_row(op: str) -> OpDef:
    """The row of an ONNX op: what ONNX infers of its outputs, and nothing else."""
    domain, type = split_type(op.partition(".")[2])
    return OpDef(
        name=op,
        summary="an op that passes through as it is",
        inputs=_ANY,
        outputs=_ANY,
        infer=infer_shapes if is_known_type(op.partition(".")[2]) else infer_registered,
        dtypes=infer_dtypes,
        effect=domain not in _RUNTIME_DOMAINS or type.startswith(_RANDOM),
    )


def is_known_type(type: str) -> bool:
    """Whether ONNX Runtime can run nodes of this type: those of a domain that is nobody's own."""
    domain, _ = split_type(type)
    return domain in _RUNTIME_DOMAINS and (bool(domain) or schema_of(type) is not None)
