"""Quantizing GE graphs as `aclgrphCalibration` does: one text for each key, one graph in and one out."""

from __future__ import annotations

from amctc.driver.ge.calibrate import GeCalibration, calibrate_ge
from amctc.driver.ge.command import calibrate_ge_file
from amctc.driver.ge.keys import KEYS
from amctc.driver.ge.settings import GeSettings, read_settings

__all__ = ["KEYS", "GeCalibration", "GeSettings", "calibrate_ge", "calibrate_ge_file", "read_settings"]
