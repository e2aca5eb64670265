"""Target `onnx`: the deploy model for Ascend, the fake-quant model, the model of Q/DQ pairs, and their records."""
