"""The onnx dialect: nodes of ONNX graphs, of the standard opset and of any other domain.

Their rows are gathered in `ops`.
"""
