"""The built-in passes: one file each. A pass is registered by its line in this table."""

PASSES = {
    "fuse-batchnorm": "amctc.passes.fuse_batchnorm:FuseBatchNorm",
    "depthwise-affine": "amctc.passes.depthwise_affine:DepthwiseAffine",
    "annotate-quant": "amctc.passes.annotate_quant:AnnotateQuant",
    "quantize-weights": "amctc.passes.quantize_weights:QuantizeWeights",
    "observe": "amctc.passes.observe:Observe",
    "calibrate": "amctc.passes.calibrate:Calibrate",
    "insert-quant": "amctc.passes.insert_quant:InsertQuant",
    "quantize-bias": "amctc.passes.quantize_bias:QuantizeBias",
}
"""Name -> `module:Class`."""

PIPELINES = {
    "ptq": (
        "fuse-batchnorm,depthwise-affine,annotate-quant,quantize-weights,observe,calibrate,quantize-bias,insert-quant"
    ),
}
"""Named pipelines in their text form; `ptq` is what `amctc compile` runs by default."""
