"""The bytes of a model, and of the file with its weights where they lie apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.diagnostics import error

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MOST_BYTES = 2**31 - 1
"""The most that one protobuf message can hold."""
SMALLEST = 1024
"""Bytes from which on a tensor lies apart."""
_ALIGNED = 4096
"""Tensors begin at multiples of this, so that they can be mapped."""


def model_files(model: ModelProto, ending: str, prefix: str, *, external: bool) -> dict[str, bytes]:
    """The model under the end of its name, and its weights under the same with `.data`, if they lie apart.

    `prefix` is what the files' names begin with: the model names the other file. Raises `DiagnosticError` (AM712) for
    a model of more than 2 GiB whose weights are to be inside.
    """
    if not external:
        if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > MOST_BYTES:
            help = "write the weights into a file of their own: `--target onnx{external-data=true}`"
            raise error("AM712", f"`{ending}` would have more than 2 GiB, which one file cannot hold", help=help)
        return {ending: model.SerializeToString(deterministic=True)}
    data = bytearray()
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= SMALLEST:
            _move(tensor, data, f"{prefix}{ending}.data")
    files = {ending: model.SerializeToString(deterministic=True)}
    return files | {f"{ending}.data": bytes(data)} if data else files


def _move(tensor: TensorProto, data: bytearray, location: str) -> None:
    from onnx import TensorProto

    data.extend(b"\0" * (-len(data) % _ALIGNED))
    where = {"location": location, "offset": str(len(data)), "length": str(len(tensor.raw_data))}
    data.extend(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        tensor.external_data.add(key=key, value=value)
