"""What is fed into a network, as tensors on its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amctc.ir import Value
from amctc.ir.node import Shape
from amctc.runtime.feeds import check_feeds

Feed: TypeAlias = NDArray[Any] | Tensor


def fed_tensors(
    feeds: Mapping[str, Feed],
    inputs: Mapping[str, Value],
    declared: Mapping[Value, Shape],
    needed: set[Value],
    device: torch.device,
) -> dict[Value, Tensor]:
    """The feeds by value, float32 on the device, copied so that the caller may overwrite them before the backward pass.

    Tensors that are float32 and on the device already are taken as they are, and their numbers are not looked at.
    Raises `DiagnosticError` as `check_feeds` does.
    """
    tensors = {name: feed for name, feed in feeds.items() if isinstance(feed, Tensor)}
    arrays = check_feeds({name: _array(feed) for name, feed in feeds.items()}, inputs, declared, needed)
    found: dict[Value, Tensor] = {}
    for value, array in arrays.items():
        given = tensors.get(value.blob)
        # What was checked may have another shape than what was fed: one number for an input without axes.
        found[value] = (
            torch.tensor(array, device=device)
            if given is None
            else given.detach().to(device, torch.float32).reshape(array.shape)
        )
    return found


def _array(feed: Feed) -> NDArray[Any]:
    """An array, or one of the tensor's shape that takes no memory."""
    if isinstance(feed, Tensor):
        return np.broadcast_to(np.float32(0), tuple(feed.shape))
    return feed
