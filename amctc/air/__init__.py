"""The file format of Ascend's Graph Engine: `.air`, a `ge.proto.ModelDef`, and its text dumps. No graph of ours in here."""
