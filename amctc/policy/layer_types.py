"""What the layer types of PyTorch and GE can be quantized with (AMCT's capacity table; the GE guide).

Caffe's types are in the op table. A type that is not here is judged with the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from amctc.dialects.ge import GE
from amctc.dialects.op import OpDef
from amctc.ir import Node

NARROW_BITS: Final = (6, 7)
PACKED_BITS: Final = (4,)
"""Two weights of an even number of input channels lie in a byte."""
USUAL_BITS: Final = 8


@dataclass(frozen=True)
class TypeLimits:
    """`type` is the name of the type. `weights`: it has some; `channel_wise`: AMCT gives each channel a scale.

    `wide`: data of more than 8 bits; `offset`: data with an offset; `learned`: the algorithm `ada_quantize`; `narrow`:
    weights of 6 and 7 bits; `packed`: weights of 4 bits. That AMCT gives a type one scale is its default here; where
    the op allows a scale for each channel, a policy may ask for it.
    """

    type: str
    channel_wise: bool = True
    wide: bool = True
    offset: bool = True
    learned: bool = False
    narrow: bool = False
    packed: bool = True
    weights: bool = True


_PYTORCH = (
    TypeLimits("Conv1d"),
    TypeLimits("Conv2d", learned=True, narrow=True),
    TypeLimits("Conv3d", wide=False, offset=False),
    TypeLimits("Linear", channel_wise=False, learned=True),
    TypeLimits("ConvTranspose1d"),
    TypeLimits("ConvTranspose2d", learned=True),
    TypeLimits("AvgPool2d", channel_wise=False, wide=False, weights=False),
    TypeLimits("GRU"),
    TypeLimits("LSTM"),
)

TORCH_LIMITS: Mapping[str, TypeLimits] = MappingProxyType({limits.type: limits for limits in _PYTORCH})
"""By the name that PyTorch has for the type."""

_ONNX_LIMITS: Final = MappingProxyType({"MatMul": TypeLimits("MatMul", channel_wise=False, wide=False, learned=True)})
"""Where AMCT limits an ONNX type more than PyTorch's: a MatMul is a Linear without a bias."""

_GE_LINEAR: Final = (
    "Conv2D",
    "DepthwiseConv2D",
    "Deconvolution",
    "Conv2DTranspose",
    "Conv2DTransposeD",
    "FullyConnection",
    "MatMul",
    "MatMulV2",
    "BatchMatMul",
    "BatchMatMulV2",
)
GE_LIMITS: Mapping[str, TypeLimits] = MappingProxyType(
    {type: TypeLimits(type, learned=True, narrow=type == "Conv2D", packed=False) for type in _GE_LINEAR}
)
"""By type of GE's. Which have one scale for all weights says the op table, as for Caffe."""

TYPE_LIMITS: Mapping[str, Mapping[str, TypeLimits]] = MappingProxyType({"pytorch": TORCH_LIMITS, "ge": GE_LIMITS})
"""By the name of the flavour and of the type."""

ONE_SCALE_IN_TRAINING = frozenset({"Linear", "MatMul", "InnerProduct", "Pooling", "AvgPool"})
"""Types whose weights have one scale in quantization-aware training."""

_CAFFE: Final = "caffe"


def has_torch_types(dialects: frozenset[str]) -> bool:
    """Whether PyTorch's types may be named for a graph of these dialects, even those that no layer of it has."""
    return bool(dialects - {_CAFFE, GE})


def types_of(node: Node, row: OpDef) -> tuple[str, ...]:
    """Every name that a policy may call the type of a layer by, its own first."""
    return tuple(dict.fromkeys((node.type, *row.aliases(node))))


def limits_of(node: Node, row: OpDef) -> TypeLimits | None:
    """What holds for a layer beyond its row of the op table, under any of its type's names; None for Caffe's."""
    if node.dialect == _CAFFE:
        return None
    if node.dialect == GE:
        return GE_LIMITS.get(node.type)
    known = {**TORCH_LIMITS, **_ONNX_LIMITS}
    found = next((known[name] for name in types_of(node, row) if name in known), None)
    return found if found is None or _packs(node, row) else replace(found, packed=False)


def _packs(node: Node, row: OpDef) -> bool:
    """Whether two weights of neighbouring input channels can share a byte: these are even in number, in one group."""
    if row.recurrent is not None:
        weights = (node.weights[product.weight] for product in row.recurrent.products(node))
        return all(row.recurrent.rows(weight).shape[1] % 2 == 0 for weight in weights)
    channels = row.linear.channels if row.linear is not None else None
    if channels is None or row.linear is None:
        return False
    groups, _, inputs, _ = channels.split(node, node.weights[row.linear.weight]).shape
    return bool(groups == 1 and inputs % 2 == 0)


def can_be_learned(row: OpDef, limits: TypeLimits | None) -> bool:
    """Whether the weights may have the algorithm `ada_quantize`; `limits` are those of `limits_of`."""
    return row.linear is not None if limits is None else limits.learned


def usual_channel_wise(node: Node, row: OpDef) -> bool:
    """Whether the weights have a scale for each output channel where nothing is said of it."""
    limits = limits_of(node, row)
    wise = row.quantizable is not None and row.quantizable.channel_wise
    return wise and (limits is None or limits.channel_wise)
