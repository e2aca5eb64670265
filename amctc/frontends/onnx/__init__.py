"""The ONNX frontend: files of opset 7 and newer."""

from __future__ import annotations

from amctc.frontends.onnx.load import graph_of_model, load_onnx

__all__ = ["graph_of_model", "load_onnx"]
