"""Writes the compiled descriptors of our own schemas: `python -m amctc.dialects.caffe.compile_schema FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from amctc.dialects.caffe.merged_schema import compile_caffe_schema
from amctc.dialects.caffe.schema import COMPILED
from amctc.text.proto_compiler import compile_own
from amctc.text.proto_schema import compiled_name

SCHEMAS = (
    "aipp.proto",
    "amct_caffe_ptq.proto",
    "amct_caffe_qat.proto",
    "amct_ge_ptq.proto",
    "amct_kv_cache.proto",
    "amct_pytorch_ptq.proto",
    "amct_pytorch_qat.proto",
    "amct_pytorch_record.proto",
    "amct_record.proto",
    "caffe_weights.proto",
    "ge_ir.proto",
    "quant_param.proto",
)
"""Those that are read alone; the others are merged into `COMPILED`."""


def compiled_schemas() -> Mapping[str, bytes]:
    """What every compiled file should hold, by its name."""
    return {COMPILED: compile_caffe_schema(), **{compiled_name(name): compile_own(name) for name in SCHEMAS}}


if __name__ == "__main__":
    for name, content in compiled_schemas().items():
        (Path(sys.argv[1]) / name).write_bytes(content)
