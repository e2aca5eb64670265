"""The messages of Caffe's files: BVLC's, ATC's, AMCT's and ours, read as one schema."""

from __future__ import annotations

from functools import cache

from amctc.source import SourceFile
from amctc.text.compiled_schema import read_compiled
from amctc.text.proto_schema import Schema, own_proto, schema_of

COMPILED = "caffe.binpb"
"""The descriptors of the four files as one, beside them; `make protos` writes it."""

OWN_PROTOS = ("caffe.proto", "atc.proto", "layers.proto", "amct_custom.proto")
"""The four files, in the order of merging."""

NET = "caffe.NetParameter"
LAYER = "caffe.LayerParameter"


@cache
def caffe_schema() -> Schema:
    """The schema that prototxts and binary nets are read with: compiled, where that is current."""
    compiled = read_compiled(COMPILED, own_texts())
    if compiled is not None:
        return schema_of(compiled)
    from amctc.dialects.caffe.merged_schema import merged_own  # to merge texts takes longer to import

    return merged_own()


def own_texts() -> tuple[SourceFile, ...]:
    """The texts of the four files."""
    return tuple(map(own_proto, OWN_PROTOS))
