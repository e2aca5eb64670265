"""The built-in passes: one file each. A pass is registered by its line in this table."""

PASSES = {
    "remove-dead": "amctc.passes.remove_dead:RemoveDead",
    "fold-split": "amctc.passes.fold_split:FoldSplit",
    "remove-identity": "amctc.passes.remove_identity:RemoveIdentity",
    "fold-constants": "amctc.passes.fold_constants:FoldConstants",
    "merge-reshape": "amctc.passes.merge_reshape:MergeReshape",
    "merge-permute": "amctc.passes.merge_permute:MergePermute",
    "merge-affine": "amctc.passes.merge_affine:MergeAffine",
    "update-batchnorm": "amctc.passes.update_batchnorm:UpdateBatchNorm",
    "fuse-batchnorm": "amctc.passes.fuse_batchnorm:FuseBatchNorm",
    "depthwise-affine": "amctc.passes.depthwise_affine:DepthwiseAffine",
    "replace-relu6": "amctc.passes.replace_relu6:ReplaceReLU6",
    "equalize-layers": "amctc.passes.equalize_layers:EqualizeLayers",
    "insert-kv-cache-quant": "amctc.passes.insert_kv_cache_quant:InsertKvCacheQuant",
    "annotate-quant": "amctc.passes.annotate_quant:AnnotateQuant",
    "balance-channels": "amctc.passes.balance_channels:BalanceChannels",
    "apply-record": "amctc.passes.apply_record:ApplyRecord",
    "round-weights": "amctc.passes.round_weights:RoundWeights",
    "observe-means": "amctc.passes.observe_means:ObserveMeans",
    "quantize-weights": "amctc.passes.quantize_weights:QuantizeWeights",
    "observe": "amctc.passes.observe:Observe",
    "calibrate": "amctc.passes.calibrate:Calibrate",
    "correct-bias": "amctc.passes.correct_bias:CorrectBias",
    "insert-quant": "amctc.passes.insert_quant:InsertQuant",
    "quantize-bias": "amctc.passes.quantize_bias:QuantizeBias",
    "insert-retrain-quant": "amctc.passes.insert_retrain_quant:InsertRetrainQuant",
}
"""Name -> `module:Class`."""

PIPELINES = {
    "float": (
        "remove-dead,"
        "fixpoint(fold-split,remove-identity,fold-constants,merge-reshape,merge-permute,merge-affine),"
        "remove-dead,fuse-batchnorm"
    ),
    "ptq": (
        "fuse-batchnorm,depthwise-affine,annotate-quant,balance-channels,quantize-weights,observe,calibrate,"
        "quantize-bias,insert-quant"
    ),
    "ptq-equalized": (
        "fuse-batchnorm,depthwise-affine,equalize-layers,annotate-quant,balance-channels,observe-means,quantize-weights,"
        "observe,calibrate,correct-bias,quantize-bias,insert-quant"
    ),
    "ptq-rounded": (
        "fuse-batchnorm,depthwise-affine,annotate-quant,balance-channels,round-weights,quantize-weights,observe,"
        "calibrate,quantize-bias,insert-quant"
    ),
    "ptq-nonuniform": (
        "annotate-quant,quantize-weights,update-batchnorm,fuse-batchnorm,depthwise-affine,annotate-quant,"
        "quantize-weights,observe,calibrate,quantize-bias,insert-quant"
    ),
    "convert": (
        "fuse-batchnorm,depthwise-affine,annotate-quant,apply-record,quantize-weights,quantize-bias,insert-quant"
    ),
    "retrain": "insert-retrain-quant",
    "kv-cache": "insert-kv-cache-quant",
}
"""Named pipelines in their text form; by default `amctc compile` runs `ptq`, or `ptq-nonuniform` where the policy
says `snq_quantize` or `update_bn`, `ptq-rounded` where it says `ada_quantize`, or `kv-cache` for one of KV-cache
quantization; `amctc convert` runs `convert`; `retrain` makes a network one that is trained quantized."""
