"""Random legal nets of every layer type that needs no particular data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.dialects.table import op_table
from amctc.frontends import load_model
from amctc.ir.graph import Shape

Draw: TypeAlias = st.DrawFn


@dataclass(frozen=True)
class Blob:
    name: str
    shape: Shape


@dataclass(frozen=True)
class Piece:
    """A layer to add: what it reads, its parameters and how many tops it has."""

    bottoms: tuple[Blob, ...]
    parameters: str = ""
    tops: int = 1


Template: TypeAlias = Callable[[Draw, Sequence[Blob]], Piece]


def _one(parameters: Callable[[Draw, Shape], str] = lambda draw, shape: "") -> Template:
    """A layer of one bottom, whose parameters may look at its shape."""

    def make(draw: Draw, blobs: Sequence[Blob]) -> Piece:
        blob = draw(st.sampled_from(blobs))
        return Piece((blob,), parameters(draw, blob.shape))

    return make


def _choice(*texts: str) -> Template:
    return _one(lambda draw, shape: draw(st.sampled_from(("", *texts))))


def _equal(count: int, *texts: str) -> Template:
    """A layer of several bottoms of one shape."""

    def make(draw: Draw, blobs: Sequence[Blob]) -> Piece:
        first = draw(st.sampled_from(blobs))
        same = [blob for blob in blobs if blob.shape == first.shape]
        others = [draw(st.sampled_from(same)) for _ in range(count - 1)]
        return Piece((first, *others), draw(st.sampled_from(("", *texts))))

    return make


def _slice(draw: Draw, blobs: Sequence[Blob]) -> Piece:
    blob = draw(st.sampled_from(blobs))
    axis = draw(_axis(blob.shape))
    points = draw(st.lists(st.integers(1, 5), max_size=2, unique=True).map(sorted))
    text = " ".join([f"axis: {axis}", *(f"slice_point: {point}" for point in points)])
    return Piece((blob,), f"slice_param {{ {text} }}", len(points) + 1)


def _axis(shape: Shape) -> st.SearchStrategy[int]:
    return st.integers(-len(shape), len(shape) - 1) if shape else st.just(0)


def _with_axis(field: str, more: str = "") -> Template:
    return _one(lambda draw, shape: f"{field} {{ axis: {draw(_axis(shape))} {more} }}")


def _convolution(draw: Draw, shape: Shape) -> str:
    kernel, pad, stride = draw(st.integers(1, 3)), draw(st.integers(0, 2)), draw(st.integers(1, 2))
    bias = draw(st.sampled_from(("true", "false")))
    text = f"num_output: {draw(st.integers(1, 4))} kernel_size: {kernel} pad: {pad} stride: {stride} bias_term: {bias}"
    return f"convolution_param {{ {text} }}"


def _pooling(draw: Draw, shape: Shape) -> str:
    kernel = draw(st.integers(1, 3))
    pad = draw(st.integers(0, kernel - 1))
    method = draw(st.sampled_from(("MAX", "AVE")))
    return f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {draw(st.integers(1, 2))} pad: {pad} }}"


def _permute(draw: Draw, shape: Shape) -> str:
    order = draw(st.permutations(range(len(shape))))
    return f"permute_param {{ {' '.join(f'order: {axis}' for axis in order)} }}"


def _inner_product(draw: Draw, shape: Shape) -> str:
    text = f"num_output: {draw(st.integers(1, 5))} axis: {draw(_axis(shape))}"
    return f"inner_product_param {{ {text} transpose: {draw(st.sampled_from(('true', 'false')))} }}"


_REDUCE = "reduce_param { axis: -1 }"

TEMPLATES: dict[str, Template] = {
    "Convolution": _one(_convolution),
    "Deconvolution": _one(_convolution),
    "InnerProduct": _one(_inner_product),
    "Pooling": _one(_pooling),
    "BatchNorm": _choice("batch_norm_param { eps: 0.01 }"),
    "Scale": _with_axis("scale_param", "bias_term: true"),
    "Bias": _with_axis("bias_param"),
    "PReLU": _choice("prelu_param { channel_shared: true }"),
    "ReLU": _choice("relu_param { negative_slope: 0.25 }"),
    "LRN": _choice("lrn_param { local_size: 3 }", "lrn_param { norm_region: WITHIN_CHANNEL }"),
    "Softmax": _with_axis("softmax_param"),
    "Eltwise": _equal(
        2,
        "eltwise_param { operation: PROD }",
        "eltwise_param { coeff: 1 coeff: -2 }",
        "eltwise_param { operation: MAX }",
    ),
    "Concat": _equal(2, "concat_param { axis: 0 }", "concat_param { axis: -1 }"),
    "Slice": _slice,
    "Split": lambda draw, blobs: Piece((draw(st.sampled_from(blobs)),), tops=2),
    "Silence": lambda draw, blobs: Piece((draw(st.sampled_from(blobs)),), tops=0),
    "Flatten": _with_axis("flatten_param"),
    "Reshape": _one(lambda draw, shape: f"reshape_param {{ shape {{ dim: 0 dim: -1 }} axis: {draw(_axis(shape))} }}"),
    "Permute": _one(_permute),
    "Tile": _with_axis("tile_param", "tiles: 2"),
    "Crop": _equal(2, "crop_param { axis: -1 }"),
    "Reverse": _with_axis("reverse_param"),
    "ShuffleChannel": _choice("shuffle_channel_param { group: 2 }"),
    "Reorg": _choice("reorg_param { stride: 2 }", "reorg_param { stride: 2 reverse: true }"),
    "Upsample": _choice("upsample_param { scale: 2 }", "upsample_param { stride: 2 }"),
    "Pad": _choice("pad_param { pad_u: 1 pad_r: 2 }", "pad_param { pad_type: REPLICATE pad_l: 1 }"),
    "PixelShuffle": _choice("pixelshuffle_param { upscale_factor: 2 }"),
    "Unsqueeze": _one(lambda draw, shape: f"unsqueeze_param {{ dim: {draw(_axis(shape))} }}"),
    "Reduction": _with_axis("reduction_param", "operation: ASUM coeff: 0.5"),
    "ReduceSum": _choice(_REDUCE),
    "ReduceMean": _choice(_REDUCE),
    "ReduceMax": _choice(_REDUCE),
    "ReduceMin": _choice(_REDUCE),
    "ReduceProd": _choice(_REDUCE),
    "ArgMax": _with_axis("argmax_param", "top_k: 1"),
    "ArgMin": _choice(),
    "Sort": _choice("sort_param { descending: true }"),
    "TopK": _choice("topk_param { k: 2 }"),
    "MVN": _choice("mvn_param { across_channels: true }", "mvn_param { normalize_variance: false }"),
    "Normalize": _choice("norm_param { across_spatial: false channel_shared: false }"),
    "GroupNorm": _choice("group_norm_param { group_num: 1 }"),
    "LayerNormalization": _choice("layer_norm_param { affine: false }"),
    "MatMul": _equal(2, "matmul_param { transpose_b: true }"),
    "Gemm": _equal(2, "gemm_param { transpose_b: true }"),
    "SPP": _choice("spp_param { pyramid_height: 2 }", "spp_param { pyramid_height: 1 pool: AVE }"),
    "Im2col": _one(_convolution),
    "Interp": _choice("interp_param { height: 5 width: 4 }", "interp_param { zoom_factor: 2 }"),
    "Axpy": _equal(3),
    "CReLU": _choice("crelu_param { concat_axis: 1 }"),
    "Exp": _choice("exp_param { base: 2 scale: 0.5 }"),
    "Log": _choice("log_param { base: 10 shift: 2 }"),
    "Power": _choice("power_param { power: 2 scale: 0.5 shift: 1 }"),
    "ELU": _choice("elu_param { alpha: 0.5 }"),
    "Clip": _one(lambda draw, shape: "clip_param { min: -0.5 max: 0.5 }"),
    "Threshold": _choice("threshold_param { threshold: 0.25 }"),
    "Swish": _choice("swish_param { beta: 2 }"),
    "ReLU6": _choice("relu6_param { threshold: 1 }"),
    "Dropout": _choice(),
    **{
        name: _choice()
        for name in (
            *("Sigmoid", "TanH", "AbsVal", "BNLL", "Hswish", "HardSigmoid", "RReLU", "Sqrt", "Ceil", "Sign", "Cos"),
            *("Sin", "Erf", "Equal", "Greater"),
        )
    },
}
"""Layer type -> how to make a layer of it; a draw that Caffe would refuse is dropped."""

IN_PLACE = (
    "ReLU",
    "Sigmoid",
    "TanH",
    "BatchNorm",
    "Scale",
    "Bias",
    "PReLU",
    "ELU",
    "Power",
    "Dropout",
    "AbsVal",
    "Clip",
)


@st.composite
def nets(draw: st.DrawFn, most_layers: int = 6) -> str:
    """The prototxt of a legal net with two inputs."""
    first = draw(st.sampled_from(((1, 4, 4, 6), (2, 4, 6, 6), (2, 3, 5, 4), (2, 8), (3, 4, 5))))
    text = _input("a", first) + _input("b", first)
    blobs = [Blob("a", first), Blob("b", first)]
    types = sorted(name for name in TEMPLATES if f"caffe.{name}" in op_table())
    for number in range(draw(st.integers(1, most_layers))):
        kind = draw(st.sampled_from(types))
        piece = TEMPLATES[kind](draw, blobs)
        in_place = kind in IN_PLACE and draw(st.booleans())
        tops = [piece.bottoms[0].name] if in_place else [f"t{number}_{top}" for top in range(piece.tops)]
        reads = " ".join(f'bottom: "{blob.name}"' for blob in piece.bottoms)
        writes = " ".join(f'top: "{top}"' for top in tops)
        longer = f'{text}layer {{ name: "l{number}" type: "{kind}" {reads} {writes} {piece.parameters} }}\n'
        found = _blobs(longer)
        if found:
            text, blobs = longer, found
    return text


def _input(name: str, shape: Shape) -> str:
    dims = " ".join(f"dim: {size}" for size in shape)
    return f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'


def _blobs(text: str) -> list[Blob]:
    """The blobs of a net after its last layer; none if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(text, encoding="utf-8")
        try:
            graph = load_model(path)
        except DiagnosticError:
            return []
    latest = {value.blob: value.shape for node in graph for value in node.outputs}
    return [Blob(name, shape) for name, shape in latest.items() if shape is not None and 0 not in shape]
