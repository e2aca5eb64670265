"""What the fusion that is still to come will do to a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amctc.dialects.table import op_def
from amctc.dialects.traits import affine_coefficients, output_channel_axis
from amctc.ir import Node
from amctc.pipeline.context import Context
from amctc.pipeline.keeping import fusion_is_off, fusion_is_skipped


def negated_channels(node: Node, context: Context) -> NDArray[np.bool_] | None:
    """Which output channels of a linear layer fusion will multiply by a negative number; None where that is none.

    bool [channels]. The layers that are looked at are the maps of each channel behind it, as far as they may be folded.
    """
    linear = op_def(node).linear
    if linear is None or fusion_is_off(context) is not None or fusion_is_skipped(node, context) is not None:
        return None
    channels, axis = linear.out_channels(node), output_channel_axis(node)
    signs = np.ones(channels)
    value = node.output
    while node.graph.has_single_use(value):
        (use,) = node.graph.uses(value)
        reader = use.node
        if op_def(reader).affine is None or use.index != 0 or fusion_is_skipped(reader, context) is not None:
            break
        found = affine_coefficients(reader, channels, 1 if axis is None else axis)
        if isinstance(found, str):
            break
        signs *= np.sign(found[0])
        value = reader.output
    negative = signs < 0
    return negative if negative.any() else None
