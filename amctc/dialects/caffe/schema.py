"""The messages of Caffe's files: BVLC's, ATC's, AMCT's and ours, read as one schema."""

from __future__ import annotations

import re
from functools import cache

from amctc.source import SourceFile
from amctc.text.proto_schema import Schema, own_proto, parse_schema

BASE = "caffe.proto"
ADDITIONS = ("atc.proto", "amct_custom.proto", "layers.proto")

NET = "caffe.NetParameter"
LAYER = "caffe.LayerParameter"


@cache
def caffe_schema() -> Schema:
    """The schema that prototxts and binary nets are read with."""
    text = own_proto(BASE).text
    for name in ADDITIONS:
        addition = own_proto(name).text.partition("package caffe;")[2]
        block = re.search(r"message LayerParameter \{\n(.*?)\n\}\n", addition, re.DOTALL)
        if block is not None:
            place = text.index("\n}\n", text.index("message LayerParameter {"))
            text = text[:place] + "\n" + block[1] + text[place:]
            addition = addition.replace(block[0], "")
        text += addition
    return parse_schema(SourceFile(BASE, text))
