"""What the policy languages accept and no pass does is refused when compiling."""

from __future__ import annotations

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.policy import not_yet_available, resolve, to_json
from tests.policy.texts import cfg, layer_config, small_graph


@pytest.mark.parametrize(
    ("text", "words", "place"),
    [
        ("common_config { ada_quantize { quant_bits: 6 } }", "weights of 6 bits", "1:44"),
        ("common_config { arq_quantize { quant_bits: 6 } }", "weights of 6 bits", "1:44"),
        ("joint_quant: true", "`joint_quant`", "1:14"),
        ("enable_auto_nuq: true", "`enable_auto_nuq`", "1:18"),
        ("common_config { weight_compress_only: true }", "`weight_compress_only`", "1:39"),
    ],
)
def test_what_is_accepted_and_not_built_is_refused_when_compiling(text: str, words: str, place: str) -> None:
    found = not_yet_available(resolve(cfg(text), small_graph()))
    assert [d.code for d in found] == ["AM290"]
    assert found[0].message.startswith(f"{words} ")
    assert str(found[0].span) == f"quant.cfg:{place}"


def test_data_of_4_bits_in_a_layer_config_are_refused_when_compiling() -> None:
    policy = layer_config('{"conv1":{"quant_enable":true,"activation_quant_params":{"num_bits":4,"act_algo":"ifmr"}}}')
    (found,) = not_yet_available(resolve(policy, small_graph()))
    assert found.message.startswith("data of 4 bits are accepted")


@pytest.mark.parametrize("algorithm", ["hfmg_quantize", "ifmr_quantize"])
def test_either_algorithm_of_data_is_built_in_both_widths(algorithm: str) -> None:
    for dst_type in ("INT8", "INT16"):
        text = f"common_config {{ {algorithm} {{ dst_type: {dst_type} asymmetric: true }} }}"
        assert not_yet_available(resolve(cfg(text), small_graph())) == []


def test_what_is_switched_off_is_not_refused() -> None:
    text = "joint_quant: false enable_auto_nuq: false common_config { weight_compress_only: false }"
    assert not_yet_available(resolve(cfg(text), small_graph())) == []


def test_policies_of_training_are_refused_when_compiling() -> None:
    policy = cfg("retrain_data_quant_config { ulq_quantize { } }")
    (found,) = not_yet_available(resolve(policy, small_graph()))
    assert (found.code, found.file) == ("AM290", "quant.cfg")
    assert policy.flavour.title in found.message
    with pytest.raises(DiagnosticError, match="AM290"):
        to_json(resolve(policy, small_graph()))
