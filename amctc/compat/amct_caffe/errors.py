"""The exceptions of AMCT's interface for Caffe models, with lines in its log."""

from __future__ import annotations

from typing import Final

from amctc.compat.amct_caffe.log import log
from amctc.compat.exceptions import telling

told_as_amct: Final = telling(log)
