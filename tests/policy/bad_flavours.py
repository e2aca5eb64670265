"""Bad policies of the flavours beside `caffe`, in both languages: what each must be told, and where."""

from __future__ import annotations

from tests.policy.bad_policies import Bad, bad, by_name, by_type


def stated(flavour: str, marked: str, codes: str, says: str) -> Bad:
    return Bad(marked, tuple(codes.split()), says, flavour=flavour)


def bad_json(marked: str, codes: str, says: str) -> Bad:
    return Bad(marked, tuple(codes.split()), says, json=True)


def common(body: str) -> str:
    return f"common_config {{\n  {body}\n}}\n"


def ulq(body: str) -> str:
    return f"retrain_data_quant_config {{\n  ulq_quantize {{ {body} }}\n}}\n"


def prune(body: str) -> str:
    return f"prune_config {{\n  {body}\n}}\n"


def kv(body: str) -> str:
    return f'kv_cache_quant_config {{\n  quant_layers: "k"\n  calibration_config {{ {body} }}\n}}\n'


def data(body: str) -> str:
    return '{"conv1": {\n"activation_quant_params": {' + body + "}}}"


PYTORCH = (
    bad(common("arq_quantize { quant_bits: ▸5 }"), "AM210", "one of 4, 6, 7, 8"),
    bad(common("hfmg_quantize { num_of_bins: ▸1000 }"), "AM210", "one of 1024, 2048, 4096, 8192"),
    bad(common("hfmg_quantize { dst_type: ▸INT4 }"), "AM203", "did you mean `INT8`?"),
    bad(common("hfmg_quantize { dst_type: ▸int16 }"), "AM203", "did you mean `INT16`?"),
    bad(common('ifmr_quantize { dst_type: ▸"INT8" }'), "AM201", "write it without quotes"),
    bad(common("ifmr_quantize { dst_type: ▸16 }"), "AM203", "1 (INT8), 2 (INT16)"),
    bad(common("ifmr_quantize { dst_type: ▸8.0 }"), "AM201", "one of `INT8`, `INT16`"),
    bad(common("hfmg_quantize { ▸search_step: 0.1 }"), "AM200", "has no field `search_step`"),
    bad(common("ifmr_quantize { asymmetric: ▸on }"), "AM201", "write `true`"),
    bad(common("ifmr_quantize { asymmetric: true search_step: ▸2.0 }"), "AM213", "0.6 long"),
    bad(common("ada_quantize { quant_bits: ▸5 }"), "AM210", "one of 4, 6, 7, 8"),
    bad(common("ada_quantize { reg_param: ▸1.0 }"), "AM210", "above 0 and below 1"),
    bad(common("ada_quantize { warm_start: ▸0 }"), "AM210", "above 0 and below 1"),
    bad(common("ada_quantize { num_iteration: ▸-1 }"), "AM202", "0 to 4294967295"),
    bad(common("ada_quantize { beta_range_start: 2 beta_range_end: ▸20 }"), "AM240", "not below its start 2"),
    bad(common("dmq_balancer { migration_strength: ▸0.9 }"), "AM210", "at least 0.2 and at most 0.8"),
    bad(common("dmq_balancer ▸8"), "AM101", "expected `:` or `{`"),
    bad("fakequant_precision_mode: ▸FORCE_FP32_QUANT", "AM203", "did you mean `FORCE_FP16_QUANT`?"),
    bad(common("hfmg_quantize { }\n▸ifmr_quantize { }"), "AM230", "overrules `hfmg_quantize` on line 2"),
    bad(common("ada_quantize { }\n▸arq_quantize { }"), "AM230", "overrules `ada_quantize`"),
    bad(by_type('"GRU"', "▸ada_quantize { }"), "AM226", "use `arq_quantize`"),
    bad(by_type('"Linear"', "arq_quantize { quant_bits: ▸6 }"), "AM226", "only those of `Conv2d` can"),
    bad(by_type('"Linear"', "arq_quantize { channel_wise: ▸true quant_bits: 8 }"), "AM277", "`channel_wise: false`"),
    bad(by_type('"Conv3d"', "ifmr_quantize { dst_type: ▸INT16 }"), "AM244", "cannot have 16 bits"),
    bad(by_type('"Conv3d"', "ifmr_quantize { asymmetric: ▸true }"), "AM244", "cannot have an offset"),
    bad(by_name('"a"', "hfmg_quantize { }") + by_name('▸"a"', ""), "AM211", "`override_layer_configs`"),
    stated("pytorch", "batch_num: 1\n▸update_bn: true", "AM200", "`caffe`"),
    stated("pytorch", common("arq_quantize { ▸num_bits: 8 }"), "AM200", "`caffe`"),
    stated("caffe", common("▸hfmg_quantize { }"), "AM200", "`pytorch`"),
)

GE = (
    bad("version: ▸2\njoint_quant: true", "AM210", "must be 1"),
    bad("joint_quant: ▸maybe", "AM201", "`true` or `false`"),
    bad("joint_quant: true " + common("arq_quantize { quant_bits: ▸4 }"), "AM210", "one of 6, 7, 8"),
    bad(common("arq_quantize { asymmetric: ▸true }"), "AM241", "weight_compress_only: true"),
    bad('tensor_quantize ▸{ layer_name: "pool1" }', "AM204", "`input_index`"),
    bad('tensor_quantize { layer_name: "pool1" input_index: ▸-1 }', "AM202", "0 to 4294967295"),
    bad(
        'tensor_quantize { layer_name: "a" input_index: 0 }\ntensor_quantize { layer_name: ▸"a" input_index: 0 }',
        "AM211",
        "input 0 of `a`",
    ),
    bad(
        'tensor_quantize { layer_name: "a" input_index: 1 ifmr_quantize { search_step: ▸2 } }',
        "AM213",
        "0.6 long",
    ),
    stated("ge", "▸batch_num: 1\njoint_quant: true", "AM200", "`caffe`"),
)

TRAINING = (
    bad(ulq("num_bits: ▸4"), "AM210", "at least 8 and at most 16"),
    bad(ulq("num_bits: ▸16"), "AM270", "16-bit data"),
    bad(ulq("clip_max_min { clip_max: ▸-6.0 clip_min: -6.0 }"), "AM210", "above 0"),
    bad(ulq("clip_max_min { clip_max: 6.0 clip_min: ▸6.0 }"), "AM210", "below 0"),
    bad(ulq("clip_max_min ▸{ clip_max: 6.0 }"), "AM204", "`clip_max_min` needs a field `clip_min`"),
    bad(ulq("fixed_min: ▸no"), "AM201", "write `false`"),
    bad(ulq("▸fixed_max: true"), "AM200", "did you mean `fixed_min`?"),
    bad("retrain_weight_quant_config { arq_retrain { num_bits: ▸4 } }", "AM210", "uniform weights have 8 bits"),
    bad("retrain_data_quant_config: ▸true", "AM201", "needs `{ }`"),
    bad("override_layer_configs ▸{ retrain_data_quant_config { } }", "AM204", "`layer_name`"),
    bad(
        'override_layer_types { layer_type: "InnerProduct"\n'
        "  retrain_weight_quant_config { arq_retrain { channel_wise: ▸true } } }",
        "AM227",
        "one scale",
    ),
    bad(
        'override_layer_configs { layer_name: "a" retrain_data_quant_config { } }\n'
        'override_layer_configs { layer_name: ▸"a" }',
        "AM211",
        "`override_layer_configs`",
    ),
    bad(ulq("dst_type: ▸INT32"), "AM203", "did you mean `INT8`?"),
    bad(ulq("dst_type: INT8") + "retrain_weight_quant_config { arq_retrain { dst_type: ▸INT16 } }", "AM242", "INT8"),
    bad("retrain_weight_quant_config {\narq_retrain { }\n▸ulq_retrain { }\n}", "AM230", "on line 2"),
    bad(prune("filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: ▸1.0 } }"), "AM210", "below 1"),
    bad(prune("filter_pruner { balanced_l2_norm_filter_prune ▸{ } }"), "AM204", "`prune_ratio`"),
    bad(prune("n_out_of_m_pruner { l1_selective_prune { n_out_of_m_type: ▸M2N4 } }"), "AM203", "M4N2"),
    bad(prune("n_out_of_m_pruner { l1_selective_prune { update_freq: ▸-1 } }"), "AM202", "4294967295"),
    bad(prune("▸pruner { }"), "AM200", "`prune_config` has no field `pruner`"),
)

KV_CACHE = (
    bad(kv("ifmr_quantize { quant_granularity: ▸per_row }"), "AM203", "per_tensor"),
    bad(kv("ifmr_quantize { max_percentile: ▸0.3 }"), "AM210", "above 0.5"),
    bad(kv("ifmr_quantize { search_step: ▸2.0 }"), "AM213", "0.6 long"),
    bad(kv("hfmg_quantize { num_of_bins: ▸100 }"), "AM210", "one of 1024"),
    bad(kv("hfmg_quantize { }\n▸ifmr_quantize { }"), "AM230", "overrules"),
    bad('kv_cache_quant_config { quant_layers: ["k", "v", ▸"k"] }', "AM211", "`quant_layers`"),
    bad("override_layers_configs ▸{ kv_data_quant_config { } }", "AM204", "`layer_name`"),
    bad('override_layers_configs { layer_name: "k" }\noverride_layers_configs { layer_name: ▸"k" }', "AM211", "twice"),
    stated("kv-cache", 'kv_cache_quant_config { quant_layers: "k" }\n▸skip_layers: "a"', "AM200", "`caffe`"),
)

PATTERNS = (
    bad('skip_layers: ▸"regex:conv[0-9"', "AM234", "not closed"),
    bad('skip_layers: ["a", ▸"regex:*"]', "AM234", "nothing before `*`"),
    bad(by_name('▸"glob:conv["', ""), "AM234", "`[[]`"),
    bad('skip_layer_types: ▸"regex:(Conv"', "AM234", "a `(` is not closed"),
    bad('skip_fusion_layers: ▸"glob:"', "AM234", "empty"),
    Bad('skip_layers: ▸"glob:res*"', ("AM220",), "matches `glob:res*`", model=True),
    Bad('skip_layer_types: ▸"glob:Conv2*"', ("AM222",), "matches `glob:Conv2*`", model=True),
)

JSON = (
    bad_json('{"conv1": {"dmq_balancer_param": ▸0.9}}', "AM210", "at most 0.8"),
    bad_json(data('"act_algo": ▸"kl"'), "AM203", "`ifmr`"),
    bad_json(data('"act_algo": "hfmg", ▸"search_step": 0.1'), "AM200", "`search_step`"),
    bad_json(data('"act_algo": "hfmg", "num_of_bins": ▸1000'), "AM210", "1024"),
    bad_json(data('"act_algo": "ifmr", "search_step": ▸2'), "AM213", "0.6 long"),
    bad_json('{"fakequant_precision_mode": ▸"FP16", "conv1": {}}', "AM203", "FORCE_FP16_QUANT"),
    bad_json('{"conv1": {"retrain_enable": ▸1}}', "AM201", "`true` or `false`"),
    bad_json('{"conv1": {"retrain_data_config": {"algo": ▸"ulq", "num_bits": 8}}}', "AM203", "`ulq_quantize`"),
    bad_json('{"conv1": {"retrain_data_config": {"num_bits": ▸4}}}', "AM210", "at least 8"),
    bad_json('{"conv1": {"retrain_data_config": {▸"clip_max": 6.0}}}', "AM204", "needs `clip_min`"),
    bad_json('{"fc": {"kv_data_quant_config": ▸8}}', "AM201", "an object"),
    bad_json('{"fc": {"kv_data_quant_config": {"act_algo": ▸"max"}}}', "AM203", "`ifmr`"),
)

BAD_FLAVOURS = (*PYTORCH, *GE, *TRAINING, *KV_CACHE, *PATTERNS, *JSON)
