"""A small net of every type that can be quantized is compiled, written, read back and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc.dialects.table import op_def, op_table
from amctc.frontends import load_model
from amctc.ir import NodeQuant
from tests.nets import data, write_net
from tests.quantized import outputs

Arrays: TypeAlias = dict[str, NDArray[np.float32]]

IMAGE = "2 8 6 6"


@dataclass(frozen=True)
class Case:
    """A layer with bottoms of these shapes, and arrays for those that cannot be any numbers."""

    bottoms: tuple[str, ...] = (IMAGE,)
    parameters: str = ""
    tops: int = 1
    feeds: Mapping[int, NDArray[np.float32]] | None = None


def _array(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


_REGIONS = _array((0, 0, 0, 4, 5), (1, 1, 2, 5, 5), (1, 0, 0, 2, 2))
_BOXES = _array((0, 0, 4, 4), (0, 1, 4, 5), (8, 8, 9, 9), (1, 0, 5, 4))
_MASK = np.tile(np.arange(0, 18, 2, dtype=np.float32), 16).reshape(2, 8, 3, 3)
_CONVOLUTION = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"
_RECURRENT = Case(
    ("5 2 8", "5 2"),
    "recurrent_param { num_output: 6 }",
    feeds={1: _array((0, 0), (1, 1), (1, 1), (0, 1), (1, 1))},
)
_LOG = "log_param { shift: 9 }"
_POOLED = "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 }"

CASES: Mapping[str, Case] = {
    "Convolution": Case(parameters=_CONVOLUTION),
    "DepthwiseConv": Case(parameters="convolution_param { num_output: 8 kernel_size: 3 }"),
    "Deconvolution": Case(parameters="convolution_param { num_output: 4 kernel_size: 2 stride: 2 }"),
    "InnerProduct": Case(parameters="inner_product_param { num_output: 7 }"),
    "LSTM": _RECURRENT,
    "RNN": _RECURRENT,
    "GRU": _RECURRENT,
    "PassThrough": Case(parameters="pass_through_param { num_output: 32 block_height: 2 block_width: 2 }"),
    "Pooling": Case(parameters="pooling_param { kernel_size: 3 stride: 2 pool: AVE }"),
    "PSROIPooling": Case(
        (IMAGE, "3 5"),
        "psroi_pooling_param { spatial_scale: 1 output_dim: 2 group_size: 2 }",
        feeds={1: _REGIONS},
    ),
    "ROIPooling": Case((IMAGE, "3 5"), _POOLED, feeds={1: _REGIONS}),
    "ROIAlign": Case((IMAGE, "3 5"), "roi_align_param { pooled_h: 2 pooled_w: 2 }", feeds={1: _REGIONS}),
    "SPP": Case(parameters="spp_param { pyramid_height: 2 }"),
    "Upsample": Case(parameters="upsample_param { stride: 2 }"),
    "Eltwise": Case((IMAGE, IMAGE, IMAGE)),
    "Slice": Case(parameters="slice_param { axis: 1 slice_point: 3 slice_point: 4 }", tops=3),
    "Concat": Case(("2 8 6 6", "2 3 6 6")),
    "Interp": Case(parameters="interp_param { height: 9 width: 4 }"),
    "Log": Case(parameters=_LOG),
    "Nms": Case(("4 4", "4"), feeds={0: _BOXES, 1: _array((0.9, 0.8, 0.7, 0.85)).reshape(4)}),
    "Sqrt": Case(feeds={0: np.linspace(0, 3, 576, dtype=np.float32).reshape(2, 8, 6, 6)}),
    "Sort": Case(("2 9",), tops=2),
    "TopK": Case(("2 9",), "topk_param { k: 3 }", tops=2),
    "ArgMax": Case(("2 9",), "argmax_param { out_max_val: true top_k: 2 }"),
    "ArgMin": Case(("2 9",)),
    "Reshape": Case(parameters="reshape_param { shape { dim: 0 dim: 4 dim: -1 } }"),
    "Reverse": Case(parameters="reverse_param { axis: 1 }"),
    "ShuffleChannel": Case(parameters="shuffle_channel_param { group: 4 }"),
    "Crop": Case((IMAGE, "2 8 4 4"), "crop_param { axis: 2 offset: 1 }"),
    "Axpy": Case(("2 8", IMAGE, IMAGE)),
    "Permute": Case(parameters="permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "Tile": Case(parameters="tile_param { tiles: 2 }"),
    "Split": Case(tops=2),
    "Clip": Case(parameters="clip_param { min: -0.5 max: 0.5 }"),
    "Reorg": Case(parameters="reorg_param { stride: 2 }"),
    "MatMul": Case(("2 3 4 5", "2 3 5 4")),
    "Gemm": Case(("4 5", "5 3", "3")),
    "GroupNorm": Case(parameters="group_norm_param { group_num: 2 }"),
    "Pad": Case(parameters="pad_param { pad_u: 1 pad_r: 2 pad_value: 0.3 }"),
    "Equal": Case((IMAGE, IMAGE)),
    "Greater": Case((IMAGE, IMAGE)),
    "Unpooling": Case(("2 8 3 3", "2 8 3 3"), "unpooling_param { kernel_size: 2 stride: 2 }", feeds={1: _MASK}),
}
"""The types that need more than one image; every other one gets that."""

TYPES = sorted(row.type for row in op_table().values() if row.dialect == "caffe" and row.quantizable is not None)


def _build(folder: Path, kind: str, case: Case) -> tuple[Path, Path, Arrays]:
    """The files of the net, whose Scale behind the layer stays float, and a batch for it."""
    names = [f"in{index}" for index in range(len(case.bottoms))]
    text = "".join(data(shape, name) for shape, name in zip(case.bottoms, names, strict=True))
    reads = " ".join(f'bottom: "{name}"' for name in names)
    writes = " ".join(f'top: "out{index}"' for index in range(case.tops))
    text += f'layer {{ name: "tested" type: "{kind}" {reads} {writes} {case.parameters} }}\n'
    text += 'layer { name: "behind" type: "Power" bottom: "out0" top: "behind" power_param { scale: 2 } }\n'
    model, weights = write_net(folder, text)
    rng = np.random.default_rng(len(kind))
    special = case.feeds or {}
    feeds = {
        name: special.get(index, rng.normal(size=[int(size) for size in shape.split()]).astype(np.float32))
        for index, (name, shape) in enumerate(zip(names, case.bottoms, strict=True))
    }
    return model, weights, feeds


def _on_the_grid(feeds: Arrays, quant: NodeQuant) -> Arrays:
    """The inputs that are quantized, brought to the nearest values that their factors can express."""
    snapped = dict(feeds)
    for found in quant.inputs:
        assert found.scale is not None
        assert found.offset is not None
        most = 2 ** (found.bits - 1)
        scale, name = np.float32(found.scale), f"in{found.index}"
        steps = np.clip(np.rint(feeds[name] * (np.float32(1) / scale)) + found.offset, -most, most - 1)
        snapped[name] = ((steps - found.offset) * scale).astype(np.float32)
    return snapped


def _policy(kind: str, bits: int) -> str:
    """Nothing but the layer: in 8 bits with an offset, in 16 without."""
    own = "" if bits == 8 else "ifmr_quantize { num_bits: 16 }"
    override = f'override_layer_types {{ layer_type: "{kind}" calibration_config {{ {own} }} }}'
    offset = "true" if bits == 8 else "false"
    return f'batch_num: 1 skip_layers: "behind" do_fusion: false activation_offset: {offset} {override}'


def test_the_cases_are_of_types_that_can_be_quantized() -> None:
    assert set(CASES) <= set(TYPES)
    assert len(TYPES) == 78


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", TYPES)
def test_the_quantized_layer_computes_the_same_in_both_models(tmp_path: Path, kind: str, bits: int) -> None:
    model, weights, feeds = _build(tmp_path, kind, CASES.get(kind, Case()))
    policy = tmp_path / "policy.cfg"
    policy.write_text(_policy(kind, bits), encoding="utf-8")
    blobs = weights if weights.stat().st_size else None
    result = amctc.compile(model, blobs, policy=policy, data=[feeds], output=tmp_path / "q")
    (node,) = [node for node in result.graph if node.quant is not None]
    assert node.quant is not None
    assert {found.bits for found in node.quant.inputs} == {bits}
    assert bits == 8 or all(found.offset == 0 for found in node.quant.inputs)
    deploy, fake = (
        outputs(load_model(tmp_path / f"q_{name}_model.prototxt", tmp_path / f"q_{name}_weights.caffemodel"), feeds)
        for name in ("deploy", "fake_quant")
    )
    expected = outputs(load_model(model, blobs), _on_the_grid(feeds, node.quant))
    assert fake.keys() == deploy.keys() == expected.keys()
    quantizable = op_def(node).quantizable
    assert quantizable is not None
    # Only the weights are off where there are any; else a product may be summed in another order.
    tolerance = 0.05 if quantizable.weights else 1e-6
    for name, array in expected.items():
        np.testing.assert_array_equal(fake[name], deploy[name])
        assert np.abs(fake[name] - array).max() <= tolerance * np.abs(array).max()
