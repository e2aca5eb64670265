"""What the `onnx` package raises."""

from __future__ import annotations

from functools import cache


@cache
def onnx_errors() -> tuple[type[Exception], ...]:
    """The exceptions of its C++ part for models that it cannot work on; many are no RuntimeError."""
    from onnx import checker, defs, shape_inference, version_converter

    return (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
        checker.ValidationError,
        defs.SchemaError,
        shape_inference.InferenceError,
        version_converter.ConvertError,
    )
