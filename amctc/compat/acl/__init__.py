"""AMCT's interface for graphs of the Graph Engine (seed 000): `aclgrph_calibration`, without a device.

Names are those of the C++ interface as Python writes them; docs/ge.md tells what is the same and what is not.
"""

from __future__ import annotations

from amctc.compat.acl.calibration import aclgrph_calibration
from amctc.compat.acl.configs import (
    AICORE_NUM,
    CONFIG_FILE,
    DEVICE_ID,
    GROUP_ID,
    INPUT_DATA_DIR,
    INPUT_FORMAT,
    INPUT_FP16_NODES,
    INPUT_SHAPE,
    INSERT_OP_CONF,
    INSERT_OP_FILE,
    IP_ADDR,
    LOG_LEVEL,
    OUT_NODES,
    PORT,
    SOC_VERSION,
    infer_aicore_num,
)
from amctc.compat.acl.graph import Graph
from amctc.compat.acl.status import GRAPH_FAILED, GRAPH_NOT_CHANGED, GRAPH_SUCCESS

__all__ = [
    "AICORE_NUM",
    "CONFIG_FILE",
    "DEVICE_ID",
    "GRAPH_FAILED",
    "GRAPH_NOT_CHANGED",
    "GRAPH_SUCCESS",
    "GROUP_ID",
    "INPUT_DATA_DIR",
    "INPUT_FORMAT",
    "INPUT_FP16_NODES",
    "INPUT_SHAPE",
    "INSERT_OP_CONF",
    "INSERT_OP_FILE",
    "IP_ADDR",
    "LOG_LEVEL",
    "OUT_NODES",
    "PORT",
    "SOC_VERSION",
    "Graph",
    "aclgrph_calibration",
    "infer_aicore_num",
]
