"""Models to graphs, one module (or folder) a format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from amctc.diagnostics import Collector, error
from amctc.ir import Graph

if TYPE_CHECKING:
    from amctc.frontends.caffe import NetState


class Reading(TypedDict, total=False):
    """How a model is to be read, where its files alone do not say it: options of `load_model`."""

    state: NetState
    """For which phase, level and stages a Caffe net is built."""
    custom_protos: Sequence[str | Path]
    """Files that declare the messages of the user's own Caffe layers."""


CAFFE, ONNX, GE = "caffe", "onnx", "ge"
_CAFFE_ENDINGS = (".prototxt", ".txt", ".pbtxt", ".caffemodel", ".binaryproto", ".pb")


_TORCH_ENDING = ".pt2"
_PICKLES = (".pt", ".pth", ".ckpt")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_torch(model: str | Path) -> bool:
    """Whether a model is torch's: a `.pt2` file, or `module:function`, which is no file."""
    if Path(model).suffix.lower() == _TORCH_ENDING:
        return True
    return _FUNCTION.fullmatch(str(model)) is not None and not Path(model).exists()


def format_of(model: str | Path) -> str:
    """The format of a model, `caffe`, `onnx` or `ge`, by its name; else `DiagnosticError` (AM331).

    A torch model counts as the ONNX model that it becomes.
    """
    ending = Path(model).suffix.lower()
    if is_torch(model):
        return ONNX
    if ending == ".air" or _is_dump(model):
        return GE
    if ending in _CAFFE_ENDINGS:
        return CAFFE
    if ending == ".onnx":
        return ONNX
    help = "this version reads Caffe models, a `.prototxt` and its `.caffemodel`, `.onnx`, `.air` and `.pt2` files"
    if ending in _PICKLES:
        help = "write the module as a program: `torch.export.save(torch.export.export(module, inputs), 'model.pt2')`"
    raise error("AM331", f"`{ending or model}` is not a model format that is read", file=str(model), help=help)


def _is_dump(model: str | Path) -> bool:
    """Whether a file has the name of GE's text dumps."""
    return Path(model).name.startswith("ge_proto_") and Path(model).suffix.lower() == ".txt"


def load_model(
    model: str | Path,
    weights: str | Path | None = None,
    collector: Collector | None = None,
    *,
    state: NetState | None = None,
    keep_training: bool = False,
    custom_protos: Sequence[str | Path] = (),
) -> Graph:
    """The graph in a model file, whose ending says the format, or of the torch module that `module:function` gives.

    `state`, `keep_training` and `custom_protos` are Caffe's: see `load_caffe`. Warnings go to `collector`. Raises
    `DiagnosticError` (AM3xx) with every mistake found.
    """
    if format_of(model) == CAFFE:
        from amctc.frontends.caffe import load_caffe

        return load_caffe(
            model, weights, collector, state=state, keep_training=keep_training, custom_protos=custom_protos
        )
    if weights is not None:
        help = "the model has its weights in its own file, or names the files that they lie in"
        raise error("AM331", "only a Caffe model takes a weights file", file=str(weights), help=help)
    if format_of(model) == GE:
        from amctc.frontends.ge import load_ge

        return load_ge(model, collector)
    if is_torch(model):
        from amctc.frontends.torch.load import load_torch

        return load_torch(model, collector)
    from amctc.frontends.onnx import load_onnx

    return load_onnx(model, collector)
