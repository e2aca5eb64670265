"""The built-in targets: a folder each. A target is registered by its line in this table."""

TARGETS = {
    "caffe": "amctc.targets.caffe.target:CaffeTarget",
    "ge": "amctc.targets.ge.target:GeTarget",
    "onnx": "amctc.targets.onnx.target:OnnxTarget",
}
"""Name -> `module:Class`."""
