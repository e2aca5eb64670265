"""Bad .cfg policies of the flavour `caffe`: what each must be told, and where."""

from __future__ import annotations

from dataclasses import dataclass

MARK = "▸"
"""Stands before each place that a diagnostic must point at, and is taken out of the text."""


@dataclass(frozen=True)
class Bad:
    """A text with marks, the codes to be told in the order of the marks, and words of the first one.

    With `model` the text is checked against the small graph of `tests.policy.texts`. `json` says
    which of the two languages it is in.
    """

    marked: str
    codes: tuple[str, ...]
    says: str
    model: bool = False
    json: bool = False
    flavour: str | None = None

    @property
    def text(self) -> str:
        return self.marked.replace(MARK, "")

    @property
    def expected(self) -> list[tuple[str, int, int]]:
        """Code, line and column of every diagnostic."""
        places: list[tuple[int, int]] = []
        for number, line in enumerate(self.marked.split("\n"), 1):
            column = 1
            for char in line:
                if char == MARK:
                    places.append((number, column))
                else:
                    column += 1
        return [(code, *place) for code, place in zip(self.codes, places, strict=True)]


def bad(marked: str, codes: str, says: str) -> Bad:
    return Bad(marked, tuple(codes.split()), says)


def unfit(marked: str, codes: str, says: str) -> Bad:
    """A policy that is right in itself, and wrong for the small graph."""
    return Bad(marked, tuple(codes.split()), says, model=True)


def ifmr(body: str) -> str:
    return f"# data\ncommon_config {{\n  ifmr_quantize {{ {body} }}\n}}\n"


def arq(body: str) -> str:
    return f"common_config {{ arq_quantize {{ {body} }} }}"


def snq(body: str) -> str:
    return f"common_config {{ snq_quantize {{ {body} }} }}"


def by_type(kind: str, body: str) -> str:
    return f"override_layer_types {{\n  layer_type: {kind}\n  calibration_config {{ {body} }}\n}}\n"


def by_name(name: str, body: str) -> str:
    return f"override_layer_configs {{\n  layer_name: {name}\n  calibration_config {{ {body} }}\n}}\n"


SYNTAX = (
    bad("batch_num ▸1", "AM101", "expected `:`"),
    bad("batch_num: 1\ndo_fusion ▸true", "AM101", "expected `:` or `{` after a field name, found `true`"),
    bad("batch_num:▸", "AM101", "found the end of the file"),
    bad("batch_num: ▸: 1", "AM101", "expected a value"),
    bad("▸: 1", "AM101", "expected a field name"),
    bad("batch_num ▸= 1", "AM101", "write `:`"),
    bad("batch_num: 1, ▸, do_fusion: true", "AM101", "expected a field name"),
    bad("common_config {\n  ifmr_quantize {\n  }▸\n", "AM101", "close what line 1 opens"),
    bad("common_config { }\n▸}", "AM101", "closes nothing"),
    bad("common_config {\n  ifmr_quantize { ▸] }\n}", "AM101", "found `]`"),
    bad("common_config < arq_quantize { } ▸}", "AM101", "found `}`"),
    bad('skip_layers: ["a" ▸1]', "AM101", "expected `,` or `]`"),
    bad('skip_layers: ["a", ▸]', "AM101", "expected a value"),
    bad('skip_layers: "a"\nskip_layers: ▸"conv1\n', "AM101", "not closed on its line"),
    bad("skip_layers: ▸'conv1\"", "AM101", "end it with '"),
    bad("batch_num: ▸1.2.3", "AM101", "`1.2.3` is not a number"),
    bad("batch_num: ▸12abc", "AM101", "`12abc` is not a number"),
    bad("batch_num: 1\n▸// comment", "AM101", "comments begin with `#`"),
    bad("▸/* comment */ batch_num: 1", "AM101", "comments begin with `#`"),
    bad("batch_num▸：1", "AM101", "write `:`"),
    bad("skip_layers: ▸“conv1”", "AM101", "U+201C"),
    bad("common_config {" * 64 + "common_config ▸{", "AM103", "64 levels"),
    bad("batch_num: ▸08", "AM104", "write `8`"),
    bad("batch_num: ▸" + "9" * 401, "AM104", "at most 400 characters"),
    bad(ifmr("search_step: ▸1e999"), "AM104", "too large"),
    bad('skip_layers: "conv▸\\q"', "AM104", "not an escape sequence"),
    bad('skip_layers: "▸\\ud800"', "AM104", "not a character"),
    bad("activation_offset: ▸-yes", "AM104", "`-` must stand before a number"),
)

SCHEMA = (
    bad('batch_num: 1\n▸skip_layer: "conv1"', "AM200", "did you mean `skip_layers`?"),
    bad(ifmr("▸search_rang_start: 0.8"), "AM200", "did you mean `search_range_start`?"),
    bad("common_config { ▸ifmr { } }", "AM200", "did you mean `ifmr_quantize`?"),
    bad("common_config { ▸quantize { } }", "AM200", "has no field `quantize`"),
    bad("▸[amct.extra]: 1", "AM200", "[amct.extra]"),
    bad('pass { name: "a" ▸options { } }', "AM200", "did you mean `option`?"),
    bad("bn_update_config { ▸iterations: 30 }", "AM200", "bn_update_iterations"),
    bad("update_bn: false " + arq("▸quant_bits: 8"), "AM200", "`pytorch`"),
    bad("update_bn: false common_config { ▸hfmg_quantize { } }", "AM200", "`pytorch`"),
    bad("update_bn: false ▸joint_quant: true", "AM200", "`ge`"),
    bad('batch_num: ▸"two"', "AM201", "must be a whole number, but a string was found"),
    bad("batch_num: ▸1.5", "AM201", "a number with a fraction"),
    bad("batch_num: ▸true", "AM201", "the word `true`"),
    bad("batch_num ▸{ }", "AM201", "a message in braces"),
    bad("activation_offset: ▸yes", "AM201", "write `true`"),
    bad("activation_offset: ▸2", "AM201", "a whole number was found"),
    bad('do_fusion: ▸"true"', "AM201", "a string was found"),
    bad("skip_layers: ▸conv1", "AM201", 'write `"conv1"`'),
    bad('skip_layers: ["a", ▸2, "b"]', "AM201", "must be a string"),
    bad('skip_layers: ▸"\\377"', "AM201", "not valid UTF-8"),
    bad("common_config: ▸1", "AM201", "write `common_config { ... }`"),
    bad("common_config { ifmr_quantize: ▸8 }", "AM201", "needs `{ }`"),
    bad(ifmr('search_step: ▸"0.01"'), "AM201", "must be a number"),
    bad(arq("channel_wise: ▸maybe"), "AM201", "the word `maybe`"),
    bad("update_bn: ▸-1", "AM201", "must be `true` or `false`"),
    bad("batch_num: ▸-1", "AM202", "0 to 4294967295"),
    bad("batch_num: ▸4294967296", "AM202", "0 to 4294967295"),
    bad(ifmr("num_bits: ▸-8"), "AM202", "out of range"),
    bad(ifmr("search_step: ▸1e39"), "AM202", "3.4e38"),
    bad(snq('init_algo: ▸"random"'), "AM203", "one of `uniform`, `gaussian`, `d2sampling`, `optimal`"),
    bad(snq('init_algo: ▸"optimum"'), "AM203", "did you mean `optimal`?"),
    bad(snq('init_algo: ▸"Uniform"'), "AM203", "did you mean `uniform`?"),
    bad('override_layer_configs ▸{ layer_name: "conv1" }', "AM204", "`calibration_config`"),
    bad("override_layer_configs ▸{ calibration_config { } }", "AM204", "`layer_name`"),
    bad("override_layer_types: ▸{ calibration_config { } }", "AM204", "`layer_type`"),
    bad("override_layer_types ▸▸{ }", "AM204 AM204", "`layer_type`"),
    bad("pass ▸{ }", "AM204", "`name`"),
    bad('pass { name: "a" option ▸{ key: "k" } }', "AM204", "`value`"),
)

VALUES = (
    bad("batch_num: ▸0", "AM210", "at least 1"),
    bad(ifmr("num_bits: ▸7"), "AM210", "at least 8 and at most 16"),
    bad(ifmr("num_bits: ▸32"), "AM210", "12 bits"),
    bad(ifmr("max_percentile: ▸0.5"), "AM210", "above 0.5 and at most 1"),
    bad(ifmr("max_percentile: ▸99.9999"), "AM210", "a fraction, not a percentage"),
    bad(ifmr("min_percentile: ▸-0.1"), "AM210", "above 0.5"),
    bad(ifmr("min_percentile: ▸nan"), "AM210", "not nan"),
    bad(ifmr("search_range_start: ▸0"), "AM210", "above 0"),
    bad(ifmr("search_range_end: ▸-1.3"), "AM210", "above 0"),
    bad(ifmr("search_step: ▸0.0"), "AM210", "above 0"),
    bad(ifmr("search_range_end: ▸inf"), "AM210", "not inf"),
    bad(arq("num_bits: ▸4"), "AM210", "uniform weights have 8 bits"),
    bad(snq("max_iteration: ▸100"), "AM210", "at least 500 and at most 2000"),
    bad(snq("min_distance: ▸0.01"), "AM210", "at most 0.001"),
    bad("bn_update_config { bn_update_iterations: ▸0 }", "AM210", "above 0"),
    bad("bn_update_config { bn_update_iterations: ▸1000 }", "AM210", "below 1000"),
    bad("bn_update_config { bn_moving_average_fraction: ▸1.0 }", "AM210", "below 1"),
    bad("update_bn: true bn_update_config { bn_dump_dir: ▸'' }", "AM245", "is empty"),
    bad("update_bn: true bn_update_config { bn_dump_dir: ▸'bn\\000data' }", "AM245", "a character of code 0"),
    bad(by_type('"Pooling"', "ifmr_quantize { num_bits: ▸6 }"), "AM210", "at least 8"),
    bad(by_name('"conv1"', "ifmr_quantize { search_step: ▸-0.01 }"), "AM210", "above 0"),
    bad('skip_layers: "a"\nskip_layers: ▸"a"', "AM211", "is in `skip_layers` twice"),
    bad('skip_layers: ["a", "b", ▸"a", ▸"a"]', "AM211 AM211", "take one of them out"),
    bad('skip_layer_types: ["ReLU", ▸"ReLU"]', "AM211", "`skip_layer_types`"),
    bad('skip_fusion_layers: ["a", ▸"a"]', "AM211", "`skip_fusion_layers`"),
    bad(by_name('"a"', "") + by_name('▸"a"', ""), "AM211", "`override_layer_configs`"),
    bad(by_type('"ReLU"', "") + by_type('▸"ReLU"', ""), "AM211", "`override_layer_types`"),
    bad(
        'pass { name: "a" option { key: "k" value: "1" }\noption { key: ▸"k" value: "2" } }', "AM211", "options of `a`"
    ),
    bad(ifmr("search_range_end: ▸0.5"), "AM212", "not above its start 0.7"),
    bad(ifmr("search_range_start: 1.2 search_range_end: ▸0.8"), "AM212", "ends at 0.8"),
    bad(ifmr("search_range_start: 1.0 search_range_end: ▸1.0"), "AM212", "ends at 1.0"),
    bad(ifmr("search_range_start: ▸2.0"), "AM212", "ends at 1.3"),
    bad(ifmr("search_step: ▸0.7"), "AM213", "0.6 long"),
    bad(ifmr("search_range_start: 0.9 search_range_end: 1.1 search_step: ▸0.3"), "AM213", "0.2 long"),
    bad(ifmr("search_step: ▸1e-6"), "AM214", "0.01 is usual"),
    bad(ifmr("search_range_end: ▸1e6"), "AM214", "more than 10000 candidates"),
    bad(by_type('"Pooling"', "▸arq_quantize { }"), "AM226", "have no weights"),
    bad(by_type('"LSTM"', "▸snq_quantize { }"), "AM226", "use `arq_quantize`"),
    bad(by_type('"InnerProduct"', "arq_quantize { channel_wise: ▸true }"), "AM227", "write `channel_wise: false`"),
)

ADVICE = (
    bad("common_config {\n  snq_quantize { }\n  ▸arq_quantize { }\n}", "AM230", "overrules `snq_quantize` on line 2"),
    bad("common_config { snq_quantize { } ▸arq_quantize { } }", "AM230", "`snq_quantize` before it on line 1"),
    bad("batch_num: 1\n▸batch_num: 2\n", "AM232", "on line 2 overrules the one on line 1"),
    bad("do_fusion: true ▸do_fusion: false ▸do_fusion: true", "AM232 AM232", "on line 1 twice"),
    bad(arq("num_bits: 8") + "\n" + arq("▸num_bits: 8"), "AM232", "take one of them out"),
    bad(by_name('"a"', "ifmr_quantize { num_bits: 8 ▸num_bits: 12 }"), "AM232", "last one holds"),
    bad('skip_layers: "a"\n' + by_name('▸"a"', ""), "AM225", "`skip_layers` wins"),
    bad('skip_layer_types: "ReLU"\n' + by_type('▸"ReLU"', ""), "AM225", "`skip_layer_types` wins"),
    bad(ifmr("num_bits: ▸16"), "AM270", "write 12"),
    bad(by_name('"a"', "ifmr_quantize { num_bits: ▸13 }"), "AM270", "13-bit data"),
    bad(ifmr("search_step: ▸0.001"), "AM271", "about 600 candidates"),
    bad(ifmr("search_range_end: ▸9.7"), "AM271", "about 900 candidates"),
    bad("batch_num: 1\n▸bn_update_config { bn_dump_dir: 'bn' }", "AM274", "write `update_bn: true`"),
    bad("update_bn: false ▸bn_update_config { }", "AM274", "`update_bn` is not true"),
)

UNFIT = (
    unfit('skip_layers: ▸"conv9"', "AM220", "did you mean `conv2`?"),
    unfit(by_name('▸"covn1"', ""), "AM220", "did you mean `conv1`?"),
    unfit('skip_fusion_layers: ["conv1", ▸"conv9"]', "AM220", "did you mean `conv2`?"),
    unfit('skip_layers: ▸"Conv1"', "AM220", "did you mean `conv1`?"),
    unfit('skip_layers: ▸"drop"', "AM221", "of type `Dropout`"),
    unfit('skip_layer_types: ▸"Dropout"', "AM221", "cannot be quantized"),
    unfit(by_name('▸"data"', ""), "AM221", "`amctc ops`"),
    unfit('skip_layer_types: ▸"Convolutoin"', "AM222", "did you mean `Convolution`?"),
    unfit(by_type('▸"Conv2d"', ""), "AM222", "there is no layer type `Conv2d`"),
    unfit('skip_fusion_layers: ▸"pool1"', "AM223", "never fused"),
    unfit('skip_layer_types: [▸"Convolution", "InnerProduct", "Eltwise", "Pooling", "Softmax"]', "AM224", "of 9"),
    unfit('skip_layer_types: "Convolution"\n' + by_name('▸"conv1"', ""), "AM225", "`skip_layer_types` wins"),
    unfit('skip_layers: "conv1"\n' + by_name('▸"conv1"', ""), "AM225", "`skip_layers` wins"),
    unfit(by_name('"pool1"', "▸arq_quantize { }"), "AM226", "have no weights"),
    unfit(by_name('"fc"', "arq_quantize { channel_wise: ▸true }"), "AM227", "one scale for all"),
    unfit("common_config { ▸▸snq_quantize { } }", "AM272 AM275", "the first layer with weights (`conv1`) and the last"),
    unfit(by_name('"conv1"', "▸▸snq_quantize { }") + "update_bn: false", "AM272 AM275", "holds for the first layer"),
    unfit("▸bn_update_config { }\nupdate_bn: false", "AM274", "has no effect"),
    unfit('skip_layers: ▸"conv9"\nskip_layer_types: ▸"Pool"', "AM220 AM222", "`conv9`"),
)

SEVERAL = (
    bad(
        'batch_num: ▸0\n▸colour: "red"\nskip_layers: "a"\nskip_layers: ▸"a"\n'
        "common_config { ifmr_quantize { num_bits: ▸99 search_step: ▸9.0 } }\n",
        "AM210 AM200 AM211 AM210 AM213",
        "`batch_num`",
    ),
    bad(
        "batch_num: 1\ncommon_config {\n  snq_quantize { max_iteration: 1 }\n  ▸arq_quantize { num_bits: ▸9 }\n}",
        "AM230 AM210",
        "",
    ),
)

BAD_CFGS = (*SYNTAX, *SCHEMA, *VALUES, *ADVICE, *UNFIT, *SEVERAL)
