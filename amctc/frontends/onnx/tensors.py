"""Tensors of an ONNX file as arrays; what lies in another file is mapped, not read."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amctc.diagnostics import DiagnosticError, error
from amctc.dialects.onnx.element_types import type_name
from amctc.ir.node import Array

if TYPE_CHECKING:
    from onnx import TensorProto

_PACKED = {"uint4": 2, "int4": 2, "float4_e2m1fn": 2, "uint2": 4, "int2": 4}
"""How many elements lie in a byte."""
_DAMAGED = "the file is damaged, or cut off"


class Tensors:
    """The tensors of one model: reads them, and knows where files beside the model may lie."""

    def __init__(self, model: str | Path) -> None:
        self._model = str(model)
        self._folder = Path(model).resolve().parent

    def array(self, tensor: TensorProto, name: str | None = None) -> Array:
        """The numbers of a tensor, read-only where they lie in a file of their own.

        Raises `DiagnosticError`: AM341 for a file beside the model that is missing, too short or outside the model's
        folder, AM342 for numbers that do not fill the shape, AM343 for texts.
        """
        from onnx import TensorProto, numpy_helper

        shown = name if name is not None else tensor.name
        if tensor.data_type == TensorProto.STRING:
            message = f"the tensor `{shown}` holds texts, which are not read"
            raise error("AM343", message, file=self._model, help="take the texts out of the model")
        if any(dim < 0 for dim in tensor.dims):
            raise self._wrong(shown, f"has the shape {list(tensor.dims)}")
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor, shown)
        try:
            return numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as failure:
            raise self._wrong(shown, f"cannot be read: {failure}") from failure

    def _external(self, tensor: TensorProto, name: str) -> Array:
        where = {entry.key: entry.value for entry in tensor.external_data}
        location = where.get("location", "")
        path = self._inside(location, name)
        dtype = _numpy_type(type_name(tensor.data_type))
        if dtype is None:
            raise self._wrong(name, f"is of the element type {tensor.data_type}, which does not exist")
        packed = _PACKED.get(type_name(tensor.data_type), 1)
        count = math.prod(tensor.dims)
        size = -(-count // packed) if packed > 1 else count * dtype.itemsize
        offset, length = _number(where.get("offset", "0")), _number(where.get("length", str(size)))
        if offset is None or length is None or length != size:
            raise self._wrong(name, f"takes {size} bytes, and the model says that {location} has others for it")
        self._has(path, offset + size, name)
        if not size:
            return np.zeros(tuple(tensor.dims), dtype)
        raw = np.memmap(path, np.uint8, "r", offset, (size,))
        if packed > 1:
            return self._unpacked(tensor, raw, name)
        return np.asarray(raw).view(dtype).reshape(tuple(tensor.dims))

    def _unpacked(self, tensor: TensorProto, raw: Any, name: str) -> Array:
        from onnx import TensorProto

        inline = TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims, raw_data=raw.tobytes())
        return self.array(inline, name)

    def _inside(self, location: str, name: str) -> Path:
        """The path of a file beside the model, in the model's folder or below it."""
        if not location or "\0" in location or Path(location).is_absolute():
            raise self._unsafe(location, name)
        path = Path(os.path.realpath(self._folder / location))
        if not path.is_relative_to(self._folder):
            raise self._unsafe(location, name)
        return path

    def _has(self, path: Path, size: int, name: str) -> None:
        try:
            about = os.stat(path)
        except OSError as failure:
            message = f"the numbers of `{name}` are to lie in `{path.name}`, which is not there"
            help = "put the file with the weights beside the model, under the name that it had when it was exported"
            raise error("AM341", message, file=self._model, help=help) from failure
        if not stat.S_ISREG(about.st_mode) or about.st_size < size:
            message = f"the numbers of `{name}` are to lie in `{path.name}`, which ends before them"
            raise error("AM341", message, file=self._model, help=_DAMAGED)

    def _unsafe(self, location: str, name: str) -> DiagnosticError:
        message = f"the numbers of `{name}` are to lie in `{location[:100]}`, outside the model's folder"
        return error("AM341", message, file=self._model, help="files with weights lie beside the model, or below it")

    def _wrong(self, name: str, what: str) -> DiagnosticError:
        return error("AM342", f"the tensor `{name}` {what}", file=self._model, help=_DAMAGED)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _numpy_type(name: str) -> np.dtype[Any] | None:
    from onnx import helper

    from amctc.dialects.onnx.element_types import ONNX_TYPES

    number = ONNX_TYPES.get(name)
    return None if number is None else np.dtype(helper.tensor_dtype_to_np_dtype(number))
