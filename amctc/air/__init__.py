"""The file format of Ascend's Graph Engine: `.air`, which is a `ge.proto.ModelDef`, and its text dumps."""
