"""The log of AMCT's interface for Caffe models."""

from __future__ import annotations

from typing import Final

from amctc.compat.interface_log import InterfaceLog

log: Final = InterfaceLog("amctc.compat.amct_caffe", "amct_caffe.log")
