"""Policy texts and small graphs for the tests of policies."""

from __future__ import annotations

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.ir import Graph
from amctc.policy import Policy, ResolvedPolicy, resolve
from amctc.source import SourceFile

SAMPLE_CFG = """\
# what is not quantized and not fused
skip_layers : "pool1"
skip_layer_types:"Softmax"
do_fusion: true
skip_fusion_layers : "conv1"
update_bn: true
bn_update_config : {
    bn_update_iterations : 30
    bn_moving_average_fraction: 0.5
    bn_dump_dir: 'tmp/bn_data'
}
common_config : {
    ifmr_quantize : {
        search_range_start : 0.7
        search_range_end : 1.3
        search_step : 0.01
        max_percentile : 0.999999
        min_percentile : 0.999999
        num_bits:8
    }
    snq_quantize : {
        channel_wise : true
        max_iteration : 1000
        min_distance : 1e-10
        init_algo : 'gaussian'
    }
}
override_layer_types : {
    layer_type : "InnerProduct"
    calibration_config : {
        ifmr_quantize : {
            search_range_start : 0.7
            search_range_end : 1.3
            search_step : 0.01
            max_percentile : 0.999999
            min_percentile : 0.999999
            num_bits:8
        }
        arq_quantize : {
            channel_wise : false
            num_bits:8
        }
    }
}
override_layer_configs : {
    layer_name : "conv1"
    calibration_config : {
        arq_quantize : {
            channel_wise : true
            num_bits:8
        }
        ifmr_quantize : {
            search_range_start : 0.8
            search_range_end : 1.2
            search_step : 0.02
            max_percentile : 0.999999
            min_percentile : 0.999999
            num_bits:8
        }
    }
}
"""
"""The sample of the manual (seed 001), with our own comment."""

UNIFORM_JSON = """\
{
     "version":1,
     "batch_num":2,
     "activation_offset":true,
     "joint_quant":false,
     "do_fusion":true,
     "skip_fusion_layers":[],
     "conv1":{
         "quant_enable":true,
         "activation_quant_params":{
            "num_bits":8,
             "max_percentile":0.999999,
             "min_percentile":0.999999,
             "search_range":[
                 0.7,
                 1.3
             ],
             "search_step":0.01
         },
         "weight_quant_params":{
             "wts_algo":"arq_quantize",
             "channel_wise":true,
            "num_bits":8
         }
     },
     "conv2":{
         "quant_enable":true,
         "activation_quant_params":{
            "num_bits":8,
             "max_percentile":0.999999,
             "min_percentile":0.999999,
             "search_range":[
                 0.7,
                 1.3
             ],
             "search_step":0.01
         },
         "weight_quant_params":{
             "wts_algo":"arq_quantize",
             "channel_wise":false,
            "num_bits":8
         }
      }
 }
"""

SNQ_JSON = """\
{
    "version":1,
    "batch_num":1,
    "activation_offset":true,
    "do_fusion":true,
    "skip_fusion_layers":[
        "conv1"
    ],
    "update_bn":true,
    "bn_update_config":{
        "bn_moving_average_fraction":0.5,
        "bn_update_iterations":30,
        "bn_dump_dir":"tmp/bn_data"
    },
    "conv2":{
        "quant_enable":true,
        "activation_quant_params":[
            {
                "num_bits":8,
                "max_percentile":0.999999,
                "min_percentile":0.999999,
                "search_range":[
                    0.7,
                    1.3
                ],
                "search_step":0.01
            }
        ],
        "weight_quant_params":{
            "wts_algo":"snq_quantize",
            "channel_wise":true,
            "num_bits":4,
            "max_iteration":1000,
            "min_distance":1e-10,
            "init_algo":"gaussian"
        }
    }
}
"""


def cfg(text: str) -> Policy:
    return Policy.from_text(SourceFile("quant.cfg", text))


def layer_config(text: str) -> Policy:
    return Policy.from_text(SourceFile("config.json", text))


def refusal(text: str, name: str = "quant.cfg", flavour: str | None = None) -> tuple[Diagnostic, ...]:
    """The diagnostics of a text that must be refused."""
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile(name, text), flavour)
    return caught.value.diagnostics


def mistakes_of(text: str, name: str = "quant.cfg") -> list[tuple[str, int, int]]:
    """Code, line and column of each diagnostic of a text that must be refused."""
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile(name, text))
    return places(caught.value.diagnostics)


def only_mistake(text: str, name: str = "quant.cfg") -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(SourceFile(name, text))
    (found,) = caught.value.diagnostics
    return found


def places(diagnostics: tuple[Diagnostic, ...]) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    for diagnostic in diagnostics:
        assert diagnostic.span is not None, diagnostic
        found.append((diagnostic.code, diagnostic.span.line, diagnostic.span.column))
    return found


def small_graph() -> Graph:
    """Two convolutions (one with BatchNorm, Scale and ReLU) into Eltwise, Pooling, Dropout, InnerProduct, Softmax."""
    graph = Graph("small")
    value = graph.add("data", "caffe.Input").output
    value = graph.add("conv1", "caffe.Convolution", [value]).output
    value = graph.add("bn1", "caffe.BatchNorm", [value]).output
    value = graph.add("scale1", "caffe.Scale", [value]).output
    first = graph.add("relu1", "caffe.ReLU", [value]).output
    second = graph.add("conv2", "caffe.Convolution", [first]).output
    value = graph.add("sum", "caffe.Eltwise", [first, second]).output
    value = graph.add("pool1", "caffe.Pooling", [value]).output
    value = graph.add("drop", "caffe.Dropout", [value]).output
    value = graph.add("fc", "caffe.InnerProduct", [value]).output
    graph.outputs = [graph.add("prob", "caffe.Softmax", [value]).output]
    return graph


def resolved_cfg(text: str, graph: Graph | None = None) -> ResolvedPolicy:
    return resolve(cfg(text), graph or small_graph())


def refused(policy: Policy, graph: Graph | None = None) -> tuple[Diagnostic, ...]:
    """The diagnostics of a policy that must not fit the graph."""
    with pytest.raises(DiagnosticError) as caught:
        resolve(policy, graph or small_graph())
    return caught.value.diagnostics
