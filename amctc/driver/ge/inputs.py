"""What the settings say of the inputs and outputs of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from amctc.aipp.config import AippConfig, NetworkInput
from amctc.aipp.image import SourceShape, source_shape
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level, did_you_mean, error
from amctc.dialects.ge.slots import NCHW, NHWC, about, data_format
from amctc.dialects.shapes import annotate_shapes
from amctc.driver.ge.settings import GeSettings
from amctc.driver.ge.texts import Entry, StatedShape
from amctc.ir import Graph, Node, Value
from amctc.ir.node import Shape
from amctc.runtime.executor import graph_inputs, read_inputs

_IMAGE_RANK: Final = 4
_HALF: Final = "float16"
_FLOATS: Final = ("float32", _HALF)


@dataclass(frozen=True)
class AippInput:
    """AIPP in front of an input: what it does, the input it fills, and the images it takes."""

    config: AippConfig
    network: NetworkInput
    source: SourceShape


@dataclass(frozen=True)
class GeInput:
    """One input that data are given for.

    `shape` is that of a batch of data, `stored` the element type of the numbers in its files, `dtype` that of the
    input. With `aipp` the files hold images of bytes.
    """

    name: str
    shape: Shape
    dtype: str
    stored: str
    aipp: AippInput | None = None


def set_outputs(graph: Graph, wanted: tuple[Entry, ...]) -> None:
    """Make the outputs of a graph those that OUT_NODES names, if it names any. Raises `DiagnosticError` (AM887)."""
    if not wanted:
        return
    collector = Collector()
    found: list[Value] = []
    for entry in wanted:
        value = _output(graph, entry, collector)
        if value is not None and value in found:
            message = f"`{entry.text[:60]}` is named twice"
            collector.add(Diagnostic("AM887", message, span=entry.span, help="take one of the two out"))
        elif value is not None:
            found.append(value)
    collector.raise_errors()
    if found == graph.outputs:
        return
    graph.outputs = found
    stated = graph.attrs.get("net_output")
    if isinstance(stated, dict):  # its descriptors were those of the old outputs
        graph.attrs["net_output"] = {"name": stated["name"], "slots": (), "attrs": stated.get("attrs", {})}


def _output(graph: Graph, entry: Entry, collector: Collector) -> Value | None:
    """`node:number`, or `node` alone where it has one output."""
    name, colon, number = entry.text.rpartition(":")
    name, number = name.strip().strip('"'), number.strip()
    if colon and name in graph and number.isascii() and number.isdecimal() and len(number) < 10:
        outputs = graph.node(name).outputs
        if int(number) < len(outputs):
            return outputs[int(number)]
        message = f"`{name}` has no output {number}: it has {len(outputs)}, counted from 0"
        collector.add(Diagnostic("AM887", message, span=entry.span))
        return None
    if entry.text in graph:
        outputs = graph.node(entry.text).outputs
        if len(outputs) == 1:
            return outputs[0]
        message = f"`{entry.text[:60]}` has {len(outputs)} outputs"
        collector.add(Diagnostic("AM887", message, span=entry.span, help=f"say which: `{entry.text[:60]}:0`"))
        return None
    names = [node.name for node in graph.nodes]
    known = name if colon else entry.text
    help = did_you_mean(known[:120], names) or "write `node:0`, and a `;` between two outputs"
    collector.add(Diagnostic("AM887", f"the graph has no node `{known[:60]}`", span=entry.span, help=help))
    return None


def match_inputs(graph: Graph, settings: GeSettings, aipp: tuple[AippConfig, ...], log: Collector) -> list[GeInput]:
    """The inputs that data are given for, in the order of INPUT_SHAPE; the graph takes the shapes.

    Where a graph states another batch than the data have, it keeps its own. Raises `DiagnosticError` with everything
    that does not fit: AM884 names, AM885 shapes, AM886 a layout, AM889 and AM398 AIPP. The warning AM455 goes to `log`.
    """
    collector = Collector()
    inputs = graph_inputs(graph)
    _check_names(graph, settings, inputs, collector)
    shapes = {name: stated for name, stated in settings.shapes.items() if name in inputs}
    for name, stated in shapes.items():
        _check_shape(inputs[name].producer, name, stated, collector)
    collector.raise_errors()
    _check_layouts(inputs, settings, collector)
    halves = _halves(settings, inputs, collector)
    images = _aipp_inputs(aipp, inputs, settings, collector)
    for entry in settings.half_inputs:
        if entry.text in images:
            message = f"the input `{entry.text}` takes images through AIPP, so that its data cannot be of float16"
            collector.add(Diagnostic("AM889", message, span=entry.span, help="take it out of INPUT_FP16_NODES"))
    collector.raise_errors()
    _tell_order(shapes, inputs, log)
    annotate_shapes(graph, {name: _taken(inputs[name].producer, stated.shape) for name, stated in shapes.items()})
    return [
        GeInput(
            name,
            stated.shape,
            inputs[name].dtype,
            "uint8" if name in images else _HALF if name in halves else inputs[name].dtype,
            images.get(name),
        )
        for name, stated in shapes.items()
    ]


# -- names and shapes ------------------------------------------------------------------------------


def _check_names(graph: Graph, settings: GeSettings, inputs: Mapping[str, Value], collector: Collector) -> None:
    for name, stated in settings.shapes.items():
        if name in inputs:
            continue
        help = did_you_mean(name[:120], inputs) or f"its inputs are {_listed(inputs)}"
        message = f"the graph has no input `{name[:60]}`"
        if name in graph:
            message = f"the node `{name[:60]}` is no input of the graph, but of the type {graph.node(name).type}"
        collector.add(Diagnostic("AM884", message, span=stated.name_span, help=help))
    missing = [name for name in read_inputs(graph) if name not in settings.shapes]
    if missing and not collector.has_errors:
        message = f"INPUT_SHAPE lacks {'the input' if len(missing) == 1 else 'the inputs'} {_listed(missing)}"
        collector.add(Diagnostic("AM884", message, help="every input that the graph reads needs a shape, and data"))


def _declared(node: Node) -> Shape | None:
    """The shape that an input states, -1 for sizes that it leaves free; None for one of unknown rank."""
    found = about(node).get("shape")
    if not isinstance(found, tuple) or found[:1] == (-2,):
        return None
    return tuple(size for size in found if isinstance(size, int))


def _check_shape(node: Node, name: str, stated: StatedShape, collector: Collector) -> None:
    declared = _declared(node)
    if declared is None:
        return
    fits = len(declared) == len(stated.shape) and all(
        wide < 0 or wide == size for wide, size in zip(declared[1:], stated.shape[1:], strict=True)
    )
    if not fits:
        message = f"the input `{name}` takes {_shape_text(declared)}, not {_shape_text(stated.shape)}"
        help = "only the first size, the batch, may be another, and those that the graph leaves open"
        collector.add(Diagnostic("AM885", message, span=stated.span, help=help))


def _taken(node: Node, shape: Shape) -> Shape:
    """The shape that the graph takes: that of the data, but for a batch that it states itself."""
    declared = _declared(node)
    return (declared[0], *shape[1:]) if declared and declared[0] >= 0 else shape


def _shape_text(shape: Shape) -> str:
    return f"[{', '.join(str(size) if size >= 0 else '?' for size in shape)}]"


def _listed(names: object) -> str:
    words = [f"`{str(name)[:60]}`" for name in names] if isinstance(names, Mapping | list) else []
    more = f" and {len(words) - 20} more" if len(words) > 20 else ""
    return ", ".join(words[:20]) + more


def _tell_order(shapes: Mapping[str, StatedShape], inputs: Mapping[str, Value], log: Collector) -> None:
    """A warning where INPUT_SHAPE names the inputs in another order than their numbers have."""
    numbers = {name: inputs[name].producer.attrs.get("index") for name in shapes}
    known = {name: number for name, number in numbers.items() if isinstance(number, int)}
    by_number = sorted(known, key=lambda name: known[name])
    if len(known) < len(numbers) or list(known) == by_number:
        return
    message = f"INPUT_SHAPE names the inputs in another order than the graph, where it is {_listed(by_number)}"
    help = "the files of INPUT_DATA_DIR are taken in the order of INPUT_SHAPE"
    log.add(Diagnostic("AM455", message, Level.WARNING, help=help))


# -- layouts and element types ---------------------------------------------------------------------


def _layout(node: Node) -> str:
    """The layout that an input states: NCHW, NHWC, or another such as ND."""
    rest = about(node).get("op")
    descriptors = rest.get("output_desc") if isinstance(rest, dict) else None
    first = descriptors[0] if isinstance(descriptors, tuple) and descriptors else None
    stated = first.get("layout") if isinstance(first, dict) else None
    return "ND" if stated == "ND" else data_format(node)


def _check_layouts(inputs: Mapping[str, Value], settings: GeSettings, collector: Collector) -> None:
    wanted = settings.input_format
    if wanted in (None, "ND"):
        return
    for name, stated in settings.shapes.items():
        found = _layout(inputs[name].producer)
        if len(stated.shape) == _IMAGE_RANK and found in (NCHW, NHWC) and found != wanted:
            message = f"INPUT_FORMAT is {wanted}, but the input `{name}` of the graph is {found}"
            help = f"give the data as {found}, and INPUT_FORMAT {found}, or leave the key out"
            collector.add(Diagnostic("AM886", message, help=help))


def _halves(settings: GeSettings, inputs: Mapping[str, Value], collector: Collector) -> frozenset[str]:
    for entry in settings.half_inputs:
        if entry.text not in settings.shapes or entry.text not in inputs:
            help = did_you_mean(entry.text[:120], inputs) or f"its inputs are {_listed(inputs)}"
            message = f"INPUT_FP16_NODES names `{entry.text[:60]}`, which is no input of the graph"
            collector.add(Diagnostic("AM884", message, span=entry.span, help=help))
        elif inputs[entry.text].dtype not in _FLOATS:
            message = f"the input `{entry.text}` takes {inputs[entry.text].dtype}, not floats"
            collector.add(Diagnostic("AM884", message, span=entry.span, help="take it out of INPUT_FP16_NODES"))
    return frozenset(entry.text for entry in settings.half_inputs)


# -- AIPP ------------------------------------------------------------------------------------------


def _aipp_inputs(
    configs: tuple[AippConfig, ...], inputs: Mapping[str, Value], settings: GeSettings, collector: Collector
) -> dict[str, AippInput]:
    found: dict[str, AippInput] = {}
    for config in configs:
        try:
            name = _aipp_name(config, inputs, settings)
            network = _network(name, inputs[name], settings)
            found[name] = AippInput(config, network, source_shape(config, network))
        except DiagnosticError as mistakes:
            collector.extend(mistakes.diagnostics)
    return found


def _aipp_name(config: AippConfig, inputs: Mapping[str, Value], settings: GeSettings) -> str:
    """The input that an `aipp_op` stands at. Raises `DiagnosticError` (AM889)."""
    place = config.places.get("aipp_op")
    if config.input_name is not None:
        if config.input_name in settings.shapes:
            return config.input_name
        help = did_you_mean(config.input_name[:120], inputs) or f"its inputs are {_listed(inputs)}"
        raise error("AM889", f"the graph has no input `{config.input_name[:60]}`", place, help=help)
    numbers = {value.producer.attrs.get("index", at): name for at, (name, value) in enumerate(inputs.items())}
    name = numbers.get(config.input_rank)
    if name is None or name not in settings.shapes:
        message = f"the graph has no input {config.input_rank}"
        raise error("AM889", message, config.places.get("related_input_rank", place), help="they are counted from 0")
    return name


def _network(name: str, value: Value, settings: GeSettings) -> NetworkInput:
    """The images that an input takes. Raises `DiagnosticError` (AM889) where it takes none."""
    shape, layout = settings.shapes[name].shape, _layout(value.producer)
    if len(shape) != _IMAGE_RANK or value.dtype not in _FLOATS:
        message = f"the input `{name}` takes {value.dtype} of {_shape_text(shape)}, which are no images for AIPP"
        raise error("AM889", message, settings.shapes[name].span, help="images are floats of four axes")
    if layout not in (NCHW, NHWC):
        layout = settings.input_format if settings.input_format in (NCHW, NHWC) else NCHW
    if layout == NHWC:
        return NetworkInput(shape[3], shape[1], shape[2], "NHWC")
    return NetworkInput(shape[1], shape[2], shape[3], "NCHW")
