"""The constants that name the keys of `quantize_configs`: those of the original's `acl_calibration_configs.h`.

`INSERT_OP_CONF` and `infer_aicore_num` are what the manual calls `INSERT_OP_FILE` and `AICORE_NUM`.
"""

from __future__ import annotations

from typing import Final

from amctc.driver.ge.keys import KEYS

INPUT_DATA_DIR: Final = KEYS["INPUT_DATA_DIR"].text
INPUT_SHAPE: Final = KEYS["INPUT_SHAPE"].text
SOC_VERSION: Final = KEYS["SOC_VERSION"].text
INPUT_FORMAT: Final = KEYS["INPUT_FORMAT"].text
INPUT_FP16_NODES: Final = KEYS["INPUT_FP16_NODES"].text
CONFIG_FILE: Final = KEYS["CONFIG_FILE"].text
LOG_LEVEL: Final = KEYS["LOG_LEVEL"].text
OUT_NODES: Final = KEYS["OUT_NODES"].text
INSERT_OP_FILE: Final = KEYS["INSERT_OP_CONF"].text
INSERT_OP_CONF: Final = INSERT_OP_FILE
DEVICE_ID: Final = KEYS["DEVICE_ID"].text
AICORE_NUM: Final = KEYS["infer_aicore_num"].text
infer_aicore_num: Final = AICORE_NUM
IP_ADDR: Final = KEYS["IP_ADDR"].text
PORT: Final = KEYS["PORT"].text
GROUP_ID: Final = KEYS["GROUP_ID"].text
