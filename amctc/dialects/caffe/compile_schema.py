"""Writes the compiled descriptors of Caffe's messages: `python -m amctc.dialects.caffe.compile_schema FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from amctc.dialects.caffe.schema import compile_caffe_schema

if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(compile_caffe_schema())
