"""What a Caffe data layer does to its samples, and what takes its place here: `--preprocess`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from amctc.diagnostics import Diagnostic, Level
from amctc.dialects.shapes import node_error
from amctc.ir import Graph, Node
from amctc.runtime.executor import read_inputs

_TRANSFORM = "transform_param"


def untransformed(graph: Graph, images: bool) -> Iterator[Diagnostic]:
    """A warning (AM449) for each input whose layer transforms its samples in Caffe: nothing here applies that.

    `images` tells whether the data are image files; arrays may have been transformed, and have their size.
    """
    for value in read_inputs(graph).values():
        node = value.producer
        steps = _steps(node, images) if value.producer.outputs[0] is value and _TRANSFORM in node.attrs else []
        if steps:
            text = "what is fed counts as transformed: its `transform_param` is not applied"
            help = f"if the data are not, say `--preprocess {','.join(steps)}`"
            yield replace(node_error("AM449", node, text, help), level=Level.WARNING)


def _steps(node: Node, images: bool) -> list[str]:
    """The preprocessing that does what the layer says, in Caffe's order: crop, mean, scale; colours as B, G, R."""
    from amctc.dialects.caffe.params import params  # with Caffe's schema, which other dialects do without

    transform = params(node, _TRANSFORM)
    steps: list[str] = []
    if images and transform.crop_size:
        steps.append(f"center-crop={transform.crop_size}")
    if transform.mean_file:
        steps.append(f"mean={transform.mean_file}")
    elif len(transform.mean_value):
        steps.append("mean=" + ":".join(f"{number:g}" for number in transform.mean_value))
    if transform.scale != 1:
        steps.append(f"scale={transform.scale:.9g}")
    if images and steps:
        steps.insert(int(steps[0].startswith("center-crop")), "gray" if transform.force_gray else "bgr")
    return steps
