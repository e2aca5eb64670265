"""`QuantCalibrationOp` where AMCT's manual imports it from."""

from amctc.compat.amct_pytorch.kv_cache import QuantCalibrationOp

__all__ = ["QuantCalibrationOp"]
