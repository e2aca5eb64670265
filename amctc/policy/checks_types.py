"""What a rule for a layer type of PyTorch's or ONNX's, or for one layer of it, says that the type cannot have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from amctc.diagnostics import Diagnostic, Level
from amctc.policy.layer_types import GE_LIMITS, NARROW_BITS, PACKED_BITS, USUAL_BITS, TypeLimits
from amctc.policy.rules import DataRule, WeightRule
from amctc.policy.settings import ADA


def beyond_type(limits: TypeLimits, data: Iterable[DataRule], weights: WeightRule | None) -> Iterator[Diagnostic]:
    """AM226 for weights, AM244 for data that the type cannot have."""
    if weights is not None:
        yield from _weights(limits, weights)
    for rule in data:
        yield from _data(limits, rule)


def channel_wise_of_type(limits: TypeLimits, weights: WeightRule | None) -> Iterator[Diagnostic]:
    """A scale for each channel, said of a type that AMCT gives one: AM227, but the warning AM277 where amctc can."""
    wise = weights.channel_wise if weights is not None else None
    learned = weights is not None and weights.algorithm is not None and weights.algorithm.value == ADA
    if wise is None or not wise.value or limits.channel_wise or learned:
        return
    if limits.weights:
        message = f"a scale for each channel of layers of type `{limits.type}` is refused by AMCT"
        help = "here an ONNX model may have it; write `channel_wise: false` in a policy for both"
        yield Diagnostic("AM277", message, Level.WARNING, wise.span, help=help)
        return
    message = f"layers of type `{limits.type}` have one scale for all their weights, not one for each channel"
    yield Diagnostic("AM227", message, span=wise.span, help="write `channel_wise: false`")


def _weights(limits: TypeLimits, rule: WeightRule) -> Iterator[Diagnostic]:
    if rule.algorithm is not None and rule.algorithm.value == ADA and not limits.learned:
        message = f"the weights of layers of type `{limits.type}` cannot be quantized by `{ADA}`"
        yield Diagnostic("AM226", message, span=rule.algorithm.span, help="use `arq_quantize`")
    bits = rule.num_bits
    if bits is not None and bits.value in NARROW_BITS and not limits.narrow:
        message = f"the weights of layers of type `{limits.type}` cannot have {bits.value} bits"
        other = "Conv2D" if GE_LIMITS.get(limits.type) == limits else "Conv2d"
        yield Diagnostic("AM226", message, span=bits.span, help=f"only those of `{other}` can; take 8")
    if bits is not None and bits.value in PACKED_BITS and not limits.packed:
        message = f"weights of {bits.value} bits need an even number of input channels, in one group"
        yield Diagnostic("AM226", message, span=bits.span, help="take 8")


def _data(limits: TypeLimits, rule: DataRule) -> Iterator[Diagnostic]:
    bits, offset = rule.num_bits, rule.asymmetric
    if bits is not None and bits.value > USUAL_BITS and not limits.wide:
        message = f"the data of layers of type `{limits.type}` cannot have {bits.value} bits"
        word = "dst_type: INT8" if rule.dst_type is not None else f"num_bits: {USUAL_BITS}"
        yield Diagnostic("AM244", message, span=bits.span, help=f"write `{word}`")
    if offset is not None and offset.value and not limits.offset:
        message = f"the data of layers of type `{limits.type}` cannot have an offset"
        yield Diagnostic("AM244", message, span=offset.span, help="write `asymmetric: false`")
