"""Layers that bring data in or take them out: databases, images, HDF5, constants, learned blobs, Silence.

A layer that reads data in training is an input of the graph here: whoever runs it feeds its blobs, already
transformed. Their shapes are known only where the layer's own parameters say them fully.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amctc.dialects.caffe.params import params
from amctc.dialects.op import ONE, Arity, OpDef, OpError, UnknownShape
from amctc.ir import Node
from amctc.ir.node import Shape

DUMMY_PARAMETER = "dummy_data_param"

_TRANSFORM = "transform_param"
_FED = "fed by whoever runs the model, with what Caffe's transformer would give (mean, scale and crop applied)"


def input_shapes(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The shapes an Input declares: one for all tops or one for each. `UnknownShape` where it declares none."""
    given = [tuple(int(dim) for dim in shape.dim) for shape in params(node, "input_param").shape]
    tops = len(node.outputs)
    if not given:
        raise UnknownShape
    if len(given) not in (1, tops):
        raise OpError(f"declares {len(given)} shapes for {tops} tops; give one shape for all, or one for each")
    return tuple(given) if len(given) == tops else (given[0],) * tops


def _with_labels(node: Node, image: Shape) -> tuple[Shape, ...]:
    """The images' shape and, for the other tops, that of one label for each image."""
    return (image, *((image[0],),) * (len(node.outputs) - 1))


def _channels(transform: Any) -> int:
    """How many channels the transformation leaves no doubt of; 0 for none."""
    if transform.force_color and transform.force_gray:
        raise OpError("`force_color` and `force_gray` are both set; keep one")
    if transform.force_color:
        return 3
    if transform.force_gray:
        return 1
    count = len(transform.mean_value)
    return count if count > 1 else 0


def _infer_database(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    param, transform = params(node, "data_param"), params(node, _TRANSFORM)
    channels = 3 if param.force_encoded_color else _channels(transform)
    crop = transform.crop_size
    if not (param.batch_size and channels and crop):
        raise UnknownShape
    return _with_labels(node, (param.batch_size, channels, crop, crop))


def _infer_images(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    param, transform = params(node, "image_data_param"), params(node, _TRANSFORM)
    if (param.new_height == 0) != (param.new_width == 0):
        raise OpError("`new_height` and `new_width` belong together; give both or none")
    channels = 3 if param.is_color else 1
    crop = transform.crop_size
    height, width = (crop, crop) if crop else (param.new_height, param.new_width)
    if not (param.batch_size and height):
        raise UnknownShape
    return _with_labels(node, (param.batch_size, channels, height, width))


def _infer_memory(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    param = params(node, "memory_data_param")
    image = (param.batch_size, param.channels, param.height, param.width)
    if min(image) < 1:
        raise OpError("`batch_size`, `channels`, `height` and `width` must all be given and be positive")
    return _with_labels(node, image)


def _infer_windows(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    param, transform = params(node, "window_data_param"), params(node, _TRANSFORM)
    channels, crop = _channels(transform), transform.crop_size or param.crop_size
    if not (param.batch_size and channels and crop):
        raise UnknownShape
    return _with_labels(node, (param.batch_size, channels, crop, crop))


def _unknown(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    raise UnknownShape


def _no_tops(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return ()


def _learned_shape(node: Node) -> Shape:
    return tuple(int(dim) for dim in params(node, "parameter_param").shape.dim)


def _infer_parameter(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return (_learned_shape(node),)


def _parameter_weights(node: Node, shapes: tuple[Shape, ...]) -> Mapping[str, Shape]:
    return {"weight": _learned_shape(node)}


def dummy_values(node: Node) -> tuple[float, ...]:
    """The constant that each top of a DummyData holds. Raises `OpError` for a filler that draws at random."""
    fillers, tops = params(node, DUMMY_PARAMETER).data_filler, len(node.outputs)
    if len(fillers) not in (0, 1, tops):
        raise OpError(f"has {len(fillers)} `data_filler` for {tops} tops; give none, one for all, or one for each")
    for filler in fillers:
        if filler.type != "constant":
            raise OpError(
                f"its filler `{filler.type}` does not say which figures the top holds; "
                "use a `constant` filler, or an Input layer that is fed"
            )
    values = [float(filler.value) for filler in fillers] or [0.0]
    return tuple(values) if len(values) == tops else (values[0],) * tops


def _infer_dummy(node: Node, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    dummy_values(node)
    param, tops = params(node, DUMMY_PARAMETER), len(node.outputs)
    old = {name: getattr(param, name) for name in ("num", "channels", "height", "width")}
    if any(len(sizes) for sizes in old.values()):
        return _legacy_dummy_shapes(old, tops, bool(len(param.shape)))
    if len(param.shape) not in (1, tops):
        raise OpError(f"declares {len(param.shape)} shapes for {tops} tops; give one shape for all, or one for each")
    given = [tuple(int(dim) for dim in shape.dim) for shape in param.shape]
    return tuple(given) if len(given) == tops else (given[0],) * tops


def _legacy_dummy_shapes(old: Mapping[str, Any], tops: int, has_shape: bool) -> tuple[Shape, ...]:
    if has_shape:
        raise OpError("`shape` and the old `num`, `channels`, `height`, `width` are mixed; keep `shape`")
    for name, sizes in old.items():
        if len(sizes) not in (1, tops):
            raise OpError(f"has {len(sizes)} `{name}` for {tops} tops; give one for all, or one for each")
    return tuple(tuple(int(sizes[top if len(sizes) > 1 else 0]) for sizes in old.values()) for top in range(tops))


DATA_LAYER_OPS: tuple[OpDef, ...] = (
    OpDef(
        name="caffe.Input",
        summary="an input of the net",
        inputs=Arity(0, 0),
        outputs=Arity(1, None),
        infer=input_shapes,
        parameter="input_param",
        source=True,
        notes="without a shape the blob has that of what is fed",
    ),
    OpDef(
        name="caffe.Data",
        summary="samples of a database; an input here",
        inputs=Arity(0, 0),
        outputs=Arity(1, 2),
        infer=_infer_database,
        parameter="data_param",
        source=True,
        notes=(
            f"{_FED}; the shape is known from `batch_size`, `transform_param.crop_size` and a number of channels: "
            "`force_color`, `force_gray` or several `mean_value`"
        ),
    ),
    OpDef(
        name="caffe.AnnotatedData",
        summary="samples of a database with boxes (SSD); an input here",
        inputs=Arity(0, 0),
        outputs=Arity(1, 2),
        infer=_unknown,
        source=True,
        notes=f"{_FED}; the shape is that of what is fed",
    ),
    OpDef(
        name="caffe.ImageData",
        summary="images of a list of files; an input here",
        inputs=Arity(0, 0),
        outputs=Arity(2, 2),
        infer=_infer_images,
        parameter="image_data_param",
        source=True,
        notes=f"{_FED}; the shape is known from `crop_size`, or from `new_height` and `new_width`",
    ),
    OpDef(
        name="caffe.MemoryData",
        summary="samples from memory; an input here",
        inputs=Arity(0, 0),
        outputs=Arity(2, 2),
        infer=_infer_memory,
        parameter="memory_data_param",
        source=True,
        notes=_FED,
    ),
    OpDef(
        name="caffe.HDF5Data",
        summary="arrays of HDF5 files; an input here",
        inputs=Arity(0, 0),
        outputs=Arity(1, None),
        infer=_unknown,
        parameter="hdf5_data_param",
        source=True,
        notes="fed by whoever runs the model; the shape is that of what is fed",
    ),
    OpDef(
        name="caffe.WindowData",
        summary="windows of images; an input here",
        inputs=Arity(0, 0),
        outputs=Arity(2, 2),
        infer=_infer_windows,
        parameter="window_data_param",
        source=True,
        notes=f"{_FED}; the shape is known from `batch_size`, `crop_size` and a number of channels, as for Data",
    ),
    OpDef(
        name="caffe.DummyData",
        summary="constants",
        inputs=Arity(0, 0),
        outputs=Arity(1, None),
        infer=_infer_dummy,
        parameter=DUMMY_PARAMETER,
        notes="only `constant` fillers, as the others draw at random",
    ),
    OpDef(
        name="caffe.Parameter",
        summary="a learned blob",
        inputs=Arity(0, 0),
        outputs=ONE,
        infer=_infer_parameter,
        weight_shapes=_parameter_weights,
        parameter="parameter_param",
    ),
    OpDef(
        name="caffe.HDF5Output",
        summary="writes its inputs to a file in Caffe; nothing here",
        inputs=Arity(2, 2),
        outputs=Arity(0, 0),
        infer=_no_tops,
        parameter="hdf5_output_param",
        effect=True,
    ),
    OpDef(
        name="caffe.Silence",
        summary="takes blobs that are not wanted as outputs of the net",
        inputs=Arity(1, None),
        outputs=Arity(0, 0),
        infer=_no_tops,
        swallows=True,
    ),
)
"""Input and what stands in its place, and layers without a top."""
