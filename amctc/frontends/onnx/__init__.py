"""The ONNX frontend: files of opset 7 and newer."""

from __future__ import annotations

from amctc.frontends.onnx.load import load_onnx

__all__ = ["load_onnx"]
