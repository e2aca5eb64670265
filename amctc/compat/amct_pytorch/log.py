"""The log of AMCT's interface for PyTorch modules, and its exceptions with lines in that log."""

from __future__ import annotations

from typing import Final

from amctc.compat.exceptions import telling
from amctc.compat.interface_log import InterfaceLog

log: Final = InterfaceLog("amctc.compat.amct_pytorch", "amct_pytorch.log")

told_as_amct: Final = telling(log)
