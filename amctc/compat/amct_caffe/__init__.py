"""AMCT's interface for Caffe models: `import amct_caffe as amct`, or `from hotwheels import amct_caffe`.

The functions have the names, arguments, files and order of the original (seed 001, 接口说明). docs/from-amct.md tells
what is the same and what is not.
"""

from __future__ import annotations

import sys

from amctc.compat.amct_caffe.config import create_quant_config, uninplace_model
from amctc.compat.amct_caffe.device import set_cpu_mode, set_gpu_mode
from amctc.compat.amct_caffe.stages import (
    activation_quantize_model,
    convert_model,
    init,
    quantize_model,
    resume,
    save_model,
    weights_quantize_model,
)
from amctc.compat.amct_caffe.task import Graph
from amctc.compat.amct_caffe.training import (
    create_quant_retrain_config,
    create_quant_retrain_model,
    save_quant_retrain_model,
)

amct = sys.modules[__name__]
"""Samples write `from hotwheels.amct_caffe import amct` too."""

__all__ = [
    "Graph",
    "activation_quantize_model",
    "amct",
    "convert_model",
    "create_quant_config",
    "create_quant_retrain_config",
    "create_quant_retrain_model",
    "init",
    "quantize_model",
    "resume",
    "save_model",
    "save_quant_retrain_model",
    "set_cpu_mode",
    "set_gpu_mode",
    "uninplace_model",
    "weights_quantize_model",
]
