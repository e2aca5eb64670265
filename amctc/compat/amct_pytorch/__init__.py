"""AMCT's interface for PyTorch modules: `import amct_pytorch as amct`.

The functions have the names, arguments, files and order of the original. docs/from-amct-pytorch.md tells what is the
same and what is not. They need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand
from amctc.torch_missing import need_torch

if TYPE_CHECKING:
    from amctc.compat.amct_pytorch.calibration import quantize_model
    from amctc.compat.amct_pytorch.config import create_quant_config
    from amctc.compat.amct_pytorch.kv_cache import (
        QuantCalibrationOp,
        create_quant_cali_config,
        create_quant_cali_model,
    )
    from amctc.compat.amct_pytorch.preprocessing import quantize_preprocess
    from amctc.compat.amct_pytorch.saving import save_model

need_torch("`amct_pytorch`")

__all__ = [
    "QuantCalibrationOp",
    "create_quant_cali_config",
    "create_quant_cali_model",
    "create_quant_config",
    "quantize_model",
    "quantize_preprocess",
    "save_model",
]

_PLACES = {
    "calibration": ("quantize_model",),
    "config": ("create_quant_config",),
    "kv_cache": ("QuantCalibrationOp", "create_quant_cali_config", "create_quant_cali_model"),
    "preprocessing": ("quantize_preprocess",),
    "saving": ("save_model",),
}

__getattr__ = on_demand(
    __name__, {name: f"amctc.compat.amct_pytorch.{place}" for place, names in _PLACES.items() for name in names}
)
