"""Bad JSON layer configs of the flavour `caffe`: what each must be told, and where."""

from __future__ import annotations

from tests.policy.bad_policies import Bad


def bad(marked: str, codes: str, says: str) -> Bad:
    return Bad(marked, tuple(codes.split()), says, json=True)


def unfit(marked: str, codes: str, says: str) -> Bad:
    """A layer config that is right in itself, and wrong for the small graph."""
    return Bad(marked, tuple(codes.split()), says, model=True, json=True)


def data(body: str) -> str:
    return '{\n  "conv1": {\n    "activation_quant_params": {' + body + "}\n  }\n}"


def weights(body: str) -> str:
    return '{\n  "conv1": {\n    "weight_quant_params": {' + body + "}\n  }\n}"


SYNTAX = (
    bad('{"batch_num": 1▸,}', "AM101", "take the last comma out"),
    bad('{"skip_fusion_layers": ["a"▸, ]}', "AM101", "take the last comma out"),
    bad('{\n  ▸// batches\n  "batch_num": 1\n}', "AM101", "JSON has no comments"),
    bad('{\n  ▸# batches\n  "batch_num": 1\n}', "AM101", "JSON has no comments"),
    bad('{\n  "batch_num": 1\n  ▸"do_fusion": true\n}', "AM101", "expected `,` or `}`"),
    bad("{▸'batch_num': 1}", "AM101", "in double quotes"),
    bad("{▸batch_num: 1}", "AM101", "write text in double quotes"),
    bad('{"do_fusion": ▸True}', "AM101", "did you mean `true`?"),
    bad('{"batch_num": ▸NaN}', "AM101", "JSON has no `NaN`"),
    bad('{"batch_num": ▸01}', "AM101", "not a JSON number"),
    bad('{"batch_num": ▸.5}', "AM101", "not a JSON number"),
    bad('{"conv1": ▸"quant}', "AM101", "a string is not closed"),
    bad("{\n▸{\n}\n}", "AM101", "a key in double quotes"),
    bad('{"conv1": {"quant_enable": true}▸\n', "AM101", "close what line 1 opens"),
    bad('{"conv1": {}}\n▸}', "AM101", "closes nothing"),
    bad('{"conv1": {}} ▸{"conv2": {}}', "AM101", "the end of the file"),
    bad('{"a": ' + "[" * 63 + "▸[", "AM103", "64 levels"),
    bad('{"skip_fusion_layers": ["▸\\q"]}', "AM104", "not an escape sequence of JSON"),
    bad(data('"search_step": ▸1e999'), "AM104", "too large"),
    bad('{\n  "conv1": {},\n  "conv2": {},\n  ▸"conv1": {}\n}', "AM130", "the key `conv1` is there twice"),
    bad('{"conv1": {"quant_enable": true, ▸"quant_enable": false}}', "AM130", "twice"),
    bad('{"batch_num": 1, ▸"batch_num": 2, "a": {}, ▸"a": {}}', "AM130 AM130", "`batch_num`"),
)

SCHEMA = (
    bad('{"conv1": {▸"quant_enabled": true}}', "AM200", "did you mean `quant_enable`?"),
    bad(data('▸"bits": 8'), "AM200", "has no parameter `bits`"),
    bad('{"update_bn": false, "conv1": {"activation_quant_params": {▸"act_algo": "ifmr"}}}', "AM200", "`pytorch`"),
    bad(weights('"wts_algo": "arq_quantize", ▸"init_algo": "uniform"'), "AM200", "snq_quantize"),
    bad('{"bn_update_config": {▸"iterations": 1}}', "AM200", "bn_update_iterations"),
    bad("▸[1]", "AM201", "a layer config must be an object"),
    bad('{"version": ▸true}', "AM201", "a whole number"),
    bad('{"batch_num": ▸"1"}', "AM201", "a string was found"),
    bad('{"batch_num": ▸1.5}', "AM201", "must be a whole number"),
    bad('{"batch_num": ▸true}', "AM201", "`true` was found"),
    bad('{"activation_offset": ▸1}', "AM201", "`true` or `false`"),
    bad('{"do_fusion": ▸null}', "AM201", "`null` was found"),
    bad('{"skip_fusion_layers": ▸"a"}', "AM201", "a list"),
    bad('{"skip_fusion_layers": ["a", ▸1]}', "AM201", "every item of `skip_fusion_layers`"),
    bad('{"conv1": {"activation_quant_params": ▸8}}', "AM201", "or a list of such objects"),
    bad('{"conv1": {"activation_quant_params": [▸8]}}', "AM201", "must be an object"),
    bad('{"conv1": {"weight_quant_params": ▸"arq_quantize"}}', "AM201", "must be an object"),
    bad(weights('"wts_algo": ▸8'), "AM201", "must be a string"),
    bad(data('"search_range": ▸0.7'), "AM201", "a list"),
    bad(data('"search_range": [0.7, ▸"1.3"]'), "AM201", "a number"),
    bad(weights('"wts_algo": ▸"arq"'), "AM203", "did you mean `arq_quantize`?"),
    bad(weights('"wts_algo": "snq_quantize", "init_algo": ▸"kmeans"'), "AM203", "`uniform`"),
    bad('{"pass": [▸{"option": {}}]}', "AM204", "`name`"),
)

VALUES = (
    bad('{"version": ▸2, "conv1": {}}', "AM210", "`version` must be 1"),
    bad('{"batch_num": ▸0}', "AM210", "at least 1"),
    bad(data('"num_bits": ▸4'), "AM210", "at least 8 and at most 16"),
    bad(data('"max_percentile": ▸0.4'), "AM210", "above 0.5 and at most 1"),
    bad(data('"search_range": [▸0, 1.3]'), "AM210", "above 0"),
    bad(data('"search_step": ▸-0.01'), "AM210", "above 0"),
    bad(weights('"wts_algo": "arq_quantize", "num_bits": ▸4'), "AM210", "must be 8"),
    bad(weights('"wts_algo": "snq_quantize", "num_bits": ▸8'), "AM210", "must be 4"),
    bad(weights('"wts_algo": "snq_quantize", "max_iteration": ▸2001'), "AM210", "at most 2000"),
    bad('{"bn_update_config": {"bn_moving_average_fraction": ▸1.0}}', "AM210", "below 1"),
    bad('{"skip_fusion_layers": ["a", "b", ▸"a"]}', "AM211", "`skip_fusion_layers`"),
    bad(data('"search_range": [1.3, ▸0.7]'), "AM212", "ends at 0.7"),
    bad(data('"search_step": ▸0.61'), "AM213", "0.6 long"),
    bad(data('"search_range": [0.9, 1.1], "search_step": ▸1e-9'), "AM214", "0.01 is usual"),
    bad(data('"search_range": ▸[0.7]'), "AM215", "1 was found"),
    bad(data('"search_range": ▸[0.7, 1.0, 1.3]'), "AM215", "3 were found"),
    bad('{"update_bn": false, "joint_quant": ▸true}', "AM216", "write `false`"),
    bad('{▸"batchnum": 1}', "AM228", "did you mean `batch_num`?"),
    bad('{▸"conv1": true}', "AM228", "would be an object"),
    bad(data('"num_bits": ▸16'), "AM270", "16-bit data"),
    bad(data('"search_step": ▸0.0001'), "AM271", "6000 candidates"),
    bad('{"batch_num": ▸0, "conv1": {▸"bits": 8}, "conv2": {"quant_enable": ▸1}}', "AM210 AM200 AM201", "`batch_num`"),
)

UNFIT = (
    unfit('{"conv1": {}, ▸"conv8": {}}', "AM228", "did you mean `conv2`?"),
    unfit('{"conv1": {}, ▸"bn_update_cfg": {}}', "AM228", "did you mean `bn_update_config`?"),
    unfit('{"conv1": {}, ▸"drop": {}}', "AM221", "of type `Dropout`"),
    unfit('{"skip_fusion_layers": [▸"nope"], "conv1": {}}', "AM220", "no layer `nope`"),
    unfit('{"sum": {"activation_quant_params": ▸[{}]}}', "AM215", "has 2 data inputs"),
    unfit('{"pool1": {▸"weight_quant_params": {"wts_algo": "arq_quantize"}}}', "AM226", "no weights"),
    unfit('{"fc": {"weight_quant_params": {"channel_wise": ▸true}}}', "AM227", "one scale"),
    unfit('{"conv1": {"weight_quant_params": {"wts_algo": ▸▸"snq_quantize"}}}', "AM272 AM275", "the first layer"),
    unfit('{▸"bn_update_config": {"bn_update_iterations": 3}, "conv1": {}}', "AM274", "`update_bn` is not true"),
    unfit('{"update_bn": true, "bn_update_config": {"bn_dump_dir": ▸""}, "conv1": {}}', "AM245", "is empty"),
)

BAD_LAYER_CONFIGS = (*SYNTAX, *SCHEMA, *VALUES, *UNFIT)
