"""Policies of every flavour in both languages that use all their fields: what the fuzzer damages."""

from __future__ import annotations

from tests.policy.texts import SAMPLE_CFG, SNQ_JSON, UNIFORM_JSON

PYTORCH_CFG = """\
batch_num: 2
activation_offset: true
skip_layers: ["conv1", "glob:res*"]
skip_layer_types: "Linear"
fakequant_precision_mode: FORCE_FP16_QUANT
do_fusion: true
skip_fusion_layers: "conv2"
common_config {
  arq_quantize { channel_wise: true quant_bits: 8 }
  ifmr_quantize { search_range_start: 0.7 search_range_end: 1.3 search_step: 0.01 max_percentile: 0.999
    asymmetric: true dst_type: INT8 }
  dmq_balancer { migration_strength: 0.5 }
}
override_layer_types { layer_type: "Conv2d" calibration_config { hfmg_quantize { num_of_bins: 4096 dst_type: INT16 } } }
override_layer_configs {
  layer_name: "regex:conv[0-9]+"
  calibration_config {
    ada_quantize { num_iteration: 100 reg_param: 0.01 beta_range_start: 20 beta_range_end: 2 warm_start: 0.2 }
  }
}
"""
GE_CFG = """\
version: 1
joint_quant: false
enable_auto_nuq: false
skip_layers: "conv1"
common_config { weight_compress_only: true arq_quantize { channel_wise: true asymmetric: true quant_bits: 8 } }
override_layer_configs {
  layer_name: "conv2"
  calibration_config { ifmr_quantize { asymmetric: false dst_type: INT16 } }
}
tensor_quantize { layer_name: "pool1" input_index: 0 ifmr_quantize { search_step: 0.02 } }
"""
CAFFE_QAT_CFG = """\
batch_num: 1
retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 6.0 clip_min: -6.0 } fixed_min: true num_bits: 8 } }
retrain_weight_quant_config { arq_retrain { channel_wise: true num_bits: 8 } }
skip_layers: "conv1"
override_layer_configs { layer_name: "conv2" retrain_data_quant_config { ulq_quantize { num_bits: 12 } } }
override_layer_types { layer_type: "InnerProduct" retrain_weight_quant_config { arq_retrain { channel_wise: false } } }
"""
PYTORCH_QAT_CFG = """\
batch_num: 1
retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 6.0 clip_min: -6.0 } dst_type: INT8 } }
retrain_weight_quant_config { ulq_retrain { dst_type: INT4 channel_wise: true } }
quant_skip_layers: ["a", "b"]
regular_prune_skip_layers: "c"
prune_config { filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 0.3 ascend_optimized: true } } }
override_layer_configs {
  layer_name: "conv2"
  prune_config { n_out_of_m_pruner { l1_selective_prune { n_out_of_m_type: M4N2 update_freq: 0 } } }
}
"""
KV_CACHE_CFG = """\
batch_num: 1
activation_offset: true
kv_cache_quant_config {
  quant_layers: ["k_proj", "v_proj"]
  calibration_config { ifmr_quantize { quant_granularity: per_channel max_percentile: 0.999 } }
}
override_layers_configs {
  layer_name: "k_proj"
  kv_data_quant_config { hfmg_quantize { num_of_bins: 1024 asymmetric: true } }
}
"""
SELECTORS_CFG = """\
skip_layers: ["glob:conv[!12]*", 'regex:(conv|fc)\\\\d{1,3}']
skip_fusion_layers: "glob:*"
override_layer_configs { layer_name: "regex:(a|b)*c" calibration_config { } }
override_layer_configs { layer_name: "glob:conv?" calibration_config { arq_quantize { channel_wise: true } } }
pass { name: "fuse" option { key: "k" value: "v" } }
"""
PYTORCH_JSON = """\
{
    "version":1, "batch_num":1, "activation_offset":true, "do_fusion":true, "skip_fusion_layers":["conv1"],
    "conv1":{
        "quant_enable":true,
        "dmq_balancer_param":0.5,
        "activation_quant_params":{"num_bits":8, "act_algo":"hfmg", "num_of_bins":4096, "asymmetric":true},
        "weight_quant_params":{"num_bits":8, "wts_algo":"ada_quantize", "beta_range":[20, 2], "num_iteration":10,
            "reg_param":0.01, "warm_start":0.2, "channel_wise":true}
    }
}
"""
CAFFE_QAT_JSON = """\
{
    "version":1, "batch_num":1,
    "conv1":{
        "retrain_enable":true,
        "retrain_data_config":{"algo":"ulq_quantize", "clip_max":6.0, "clip_min":-6.0, "num_bits":8},
        "retrain_weight_config":{"algo":"arq_retrain", "channel_wise":true, "num_bits":8}
    }
}
"""
PYTORCH_QAT_JSON = """\
{
    "version":1, "batch_num":1,
    "conv1":{
        "retrain_enable":true,
        "retrain_data_config":{"algo":"ulq_quantize", "dst_type":"INT8", "fixed_min":true},
        "retrain_weight_config":{"algo":"ulq_retrain", "dst_type":"INT8", "channel_wise":true},
        "regular_prune_enable":true,
        "regular_prune_config":{"prune_type":"filter_prune", "algo":"balanced_l2_norm_filter_prune", "prune_ratio":0.3}
    }
}
"""
KV_CACHE_JSON = """\
{
    "batch_num":1, "activation_offset":true,
    "k_proj":{"kv_data_quant_config":{"act_algo":"ifmr", "max_percentile":0.999, "search_range":[0.7, 1.3],
        "search_step":0.01, "quant_granularity":0}},
    "v_proj":{"kv_data_quant_config":{"act_algo":"hfmg", "num_of_bins":4096, "asymmetric":false}}
}
"""

CFGS = (SAMPLE_CFG, PYTORCH_CFG, GE_CFG, CAFFE_QAT_CFG, PYTORCH_QAT_CFG, KV_CACHE_CFG, SELECTORS_CFG)
LAYER_CONFIGS = (UNIFORM_JSON, SNQ_JSON, PYTORCH_JSON, CAFFE_QAT_JSON, PYTORCH_QAT_JSON, KV_CACHE_JSON)
