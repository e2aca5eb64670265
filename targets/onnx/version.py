"""A model in a newer opset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.diagnostics import error

if TYPE_CHECKING:
    from onnx import ModelProto

WIDE_SINCE = 21
"""From this opset on QuantizeLinear and DequantizeLinear have types of 4 and 16 bits."""


def in_opset(model: ModelProto, opset: int, *, wide: bool = False) -> ModelProto:
    """The model in an opset (0: its own), at least 21 if it is `wide`: if its pairs have types of 16 bits.

    Raises `DiagnosticError` (AM711) for an opset that the model cannot be written in.
    """
    own = next(entry.version for entry in model.opset_import if entry.domain == "")
    wanted = max(opset or own, WIDE_SINCE if wide else 0)
    if opset and opset < wanted:
        help = f"ask for opset {WIDE_SINCE} or newer, or for data of 8 bits"
        raise error("AM711", f"data of 16 bits need opset {WIDE_SINCE}, and {opset} is asked for", help=help)
    if wanted == own:
        return model
    from amctc.dialects.onnx.conversion import ConversionFailed, converted

    try:
        return converted(model, wanted)
    except ConversionFailed as failure:
        message = f"the model is of opset {own} and cannot be written in opset {wanted}: {failure}"
        raise error("AM711", message, help=f"leave `opset` out, or ask for {own}") from failure
