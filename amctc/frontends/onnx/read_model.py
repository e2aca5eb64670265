"""The bytes of an ONNX file to a model in memory; weights that lie in other files stay there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from amctc.diagnostics import error
from amctc.text.files import map_file

if TYPE_CHECKING:
    from onnx import ModelProto

_NO_MODEL = "an ONNX model is one protobuf message with a graph in it; export it again, or copy it anew"


def read_model(path: str | Path) -> ModelProto:
    """The model of a file. Raises `DiagnosticError`: AM310 for what cannot be read, AM340 for what is no ONNX model."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    model = ModelProto()
    try:
        model.ParseFromString(map_file(path))  # type: ignore[arg-type]  # any buffer will do
    except DecodeError as failure:
        raise error("AM340", "this is no ONNX model: it cannot be decoded", file=str(path), help=_NO_MODEL) from failure
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise error("AM340", "this is no ONNX model: it has no graph", file=str(path), help=_NO_MODEL)
    if not _is_text(model):
        message = "this is no ONNX model: it has names that are no text"
        raise error("AM340", message, file=str(path), help=_NO_MODEL)
    if not model.opset_import:
        message = "this model does not say in which opset it is written"
        raise error("AM340", message, file=str(path), help="export it again: `opset_import` is empty")
    return model


def _is_text(message: Any) -> bool:
    """Whether all texts of a message are UTF-8: protobuf gives those that are not as bytes."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            if not all(map(_is_text, value)) if field.is_repeated else not _is_text(value):
                return False
        elif field.type == field.TYPE_STRING:
            if not all(isinstance(text, str) for text in (value if field.is_repeated else (value,))):
                return False
    return True
