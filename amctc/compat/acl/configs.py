"""The constants that name the keys of `quantize_configs`: those of the original's `acl_calibration_configs.h`.

`INSERT_OP_CONF` and `infer_aicore_num` are what the manual calls `INSERT_OP_FILE` and `AICORE_NUM`.
"""

from __future__ import annotations

from typing import Final

INPUT_DATA_DIR: Final = "inputDataDir"
INPUT_SHAPE: Final = "input_shape"
SOC_VERSION: Final = "ge.socVersion"
INPUT_FORMAT: Final = "input_format"
INPUT_FP16_NODES: Final = "ge.INPUT_NODES_SET_FP16"
CONFIG_FILE: Final = "configFile"
LOG_LEVEL: Final = "log"
OUT_NODES: Final = "ge.outputNodeName"
INSERT_OP_FILE: Final = "ge.insertOpFile"
INSERT_OP_CONF: Final = INSERT_OP_FILE
DEVICE_ID: Final = "deviceId"
AICORE_NUM: Final = "ge.aicoreNum"
infer_aicore_num: Final = AICORE_NUM
IP_ADDR: Final = "ipAddr"
PORT: Final = "port"
GROUP_ID: Final = "groupId"
