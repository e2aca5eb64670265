"""What a node says of itself under a name."""

from __future__ import annotations

import pytest

from amctc.dialects.attributes import attribute
from amctc.dialects.op import OpError
from amctc.ir import Graph, Node
from amctc.text.plain import Plain, Symbol


def node(op: str, **attrs: Plain) -> Node:
    return Graph().add("layer", op, attrs=attrs)


def test_an_attribute_is_what_the_layer_says_or_the_default_of_its_field() -> None:
    conv = node("caffe.Convolution", convolution_param={"num_output": 8, "pad": (1, 2), "engine": Symbol("CUDNN")})
    wanted = {"num_output": 8, "group": 1, "bias_term": True, "engine": "CUDNN", "pad": (1, 2), "axis": 1}
    assert {name: attribute(conv, name) for name in wanted} == wanted
    assert attribute(conv, "convolution_param.group") == 1


def test_an_attribute_that_is_unset_or_unknown_or_a_message_is_none() -> None:
    conv = node("caffe.Convolution", convolution_param={"weight_filler": {"std": 0.5}})
    for name in ("kernel_h", "stride", "nothing", "weight_filler", "group.inner", "relu_param.negative_slope"):
        assert attribute(conv, name) is None, name
    assert attribute(conv, "weight_filler.std") == 0.5
    assert attribute(conv, "weight_filler.type") == "constant"
    assert attribute(conv, "bias_filler.value") == 0


def test_what_the_schema_does_not_know_is_what_the_file_says() -> None:
    fork = node("caffe.Power", power_param={"power": 2.0, "twist": 3, "deep": {"er": True}}, phase=Symbol("TEST"))
    assert [attribute(fork, name) for name in ("power", "twist", "power_param.twist", "deep.er")] == [2.0, 3, 3, True]
    assert attribute(fork, "phase") == "TEST"
    custom = node("caffe.Warp", warp_param={"mode": Symbol("WAVE")}, param=({"lr_mult": 1.0},))
    assert attribute(custom, "warp_param.mode") == "WAVE"
    assert attribute(custom, "mode") is attribute(custom, "param.lr_mult") is None
    assert attribute(node("quant.Quantize", bits=8), "bits") == 8


def test_parameters_that_do_not_fit_the_schema_are_an_error() -> None:
    with pytest.raises(OpError, match="`power` cannot be"):
        attribute(node("caffe.Power", power_param={"power": "much"}), "power")
