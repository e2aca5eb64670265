"""The running statistics of normalizing layers as a file of their own, which any Caffe takes by layer name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from amctc.ir.node import Array
from amctc.targets.caffe.files import write_blob
from amctc.text.proto_schema import load_schema

BATCH_NORM_FILE: Final = "batchnorm.caffemodel"
"""Its name, in the folder that a policy or a model says."""

_ROLES = ("mean", "variance", "factor")


def batch_norm_file(statistics: Mapping[str, Mapping[str, Array]]) -> bytes:
    """A binary `NetParameter` with a BatchNorm layer for each name, in their order, each with three float32 blobs.

    They are the weights `mean` and `variance`, both times the factor, and `factor`; [channels], [channels] and [1].
    """
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    for name, weights in statistics.items():
        entry = message.layer.add()
        entry.name, entry.type = name, "BatchNorm"
        for role in _ROLES:
            write_blob(entry.blobs.add(), weights[role].astype(np.float32, copy=False))
    data: bytes = message.SerializeToString(deterministic=True)
    return data
