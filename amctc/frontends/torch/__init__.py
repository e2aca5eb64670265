"""Modules of PyTorch to ONNX models whose nodes bear the modules' names. All but this file needs torch."""
