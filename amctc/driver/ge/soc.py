"""The names of chips that `SOC_VERSION` may have."""

from __future__ import annotations

from typing import Final

SOC_VERSIONS: Final[tuple[str, ...]] = (
    "Ascend310",
    "Ascend310B1",
    "Ascend310B2",
    "Ascend310B3",
    "Ascend310B4",
    "Ascend310P1",
    "Ascend310P3",
    "Ascend310P5",
    "Ascend310P7",
    "Ascend610",
    "Ascend610Lite",
    "Ascend910A",
    "Ascend910B",
    "Ascend910B1",
    "Ascend910B2",
    "Ascend910B2C",
    "Ascend910B3",
    "Ascend910B4",
    "Ascend910B4-1",
    "Ascend910_9362",
    "Ascend910_9372",
    "Ascend910_9381",
    "Ascend910_9382",
    "Ascend910_9391",
    "Ascend910_9392",
    "AS31XM1X",
    "BS9SX1AA",
    "BS9SX1AB",
    "BS9SX1AC",
    "BS9SX2AA",
    "BS9SX2AB",
    "MC61AM21AA",
    "MC61AM21AB",
    "SD3403",
)
"""Those of the original's header `acl_calibration_configs.h`, all of them."""
