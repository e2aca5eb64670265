"""Quantize one ONNX model with another tool: `python onnx_peers.py METHOD FLOAT.onnx CALIBRATION.npz RESULT.onnx`.

A program of its own, which imports nothing of amctc, because the tools want versions of onnx and numpy that exclude
each other: `bench_onnx.py` calls it with the Python of the environment that has the tool. All get the same folded
float model and the same samples, and are asked for the same: Q/DQ pairs, unsigned 8-bit asymmetric activations, signed
8-bit weights with a scale for each channel. Where a tool has a default for anything else, it keeps it. Exit status 3
says that the tool is not installed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NOT_INSTALLED = 3


def reader(base: Any, samples: Path) -> Any:
    """A calibration reader in the manner of onnxruntime: one sample a call, then None, and from the start again."""

    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rewind()

        def rewind(self) -> None:
            with np.load(samples) as file:
                (name,) = file.files
                self.left = iter([{name: sample[np.newaxis]} for sample in file[name]])

        def get_next(self) -> dict[str, Any] | None:
            return next(self.left, None)

    return Reader()


def fold(model: Path, _: Path, result: Path) -> None:
    """What onnxruntime advises to do first, and what the other methods get: BatchNorms and constants folded."""
    ort = importlib.import_module("onnxruntime.quantization")
    ort.quant_pre_process(str(model), str(result), skip_symbolic_shape=True)


def onnxruntime_method(calibrator: str) -> Callable[[Path, Path, Path], None]:
    def quantize(model: Path, samples: Path, result: Path) -> None:
        ort = importlib.import_module("onnxruntime.quantization")
        ort.quantize_static(
            str(model),
            str(result),
            reader(ort.CalibrationDataReader, samples),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=getattr(ort.CalibrationMethod, calibrator),
        )

    return quantize


def nncf(model: Path, samples: Path, result: Path) -> None:
    tool, onnx = importlib.import_module("nncf"), importlib.import_module("onnx")
    with np.load(samples) as file:
        (name,) = file.files
        items = [{name: sample[np.newaxis]} for sample in file[name]]
    quantized = tool.quantize(
        onnx.load(str(model)),
        tool.Dataset(items),
        preset=tool.QuantizationPreset.MIXED,  # asymmetric activations
        subset_size=len(items),
    )
    onnx.save(quantized, str(result))


def neural_compressor(model: Path, samples: Path, result: Path) -> None:
    tool = importlib.import_module("onnx_neural_compressor.quantization")
    config = importlib.import_module("onnx_neural_compressor.quantization.config")
    readers = importlib.import_module("onnx_neural_compressor.data_reader")
    settings = config.StaticQuantConfig(
        calibration_data_reader=reader(readers.CalibrationDataReader, samples),
        quant_format=tool.QuantFormat.QDQ,
        activation_type=tool.QuantType.QUInt8,
        weight_type=tool.QuantType.QInt8,
        per_channel=True,
    )
    tool.quantize(str(model), str(result), settings)


def quark(model: Path, samples: Path, result: Path) -> None:
    tool = importlib.import_module("quark.onnx")
    config = importlib.import_module("quark.onnx.quantization.config.config")
    settings = config.QuantizationConfig(
        calibrate_method=tool.CalibrationMethod.Percentile,
        quant_format=tool.QuantFormat.QDQ,
        activation_type=tool.QuantType.QUInt8,
        weight_type=tool.QuantType.QInt8,
        per_channel=True,
        extra_options={"ForceQuantizeNoInputCheck": True},
    )
    quantizer = tool.ModelQuantizer(config.Config(global_quant_config=settings))
    quantizer.quantize_model(str(model), str(result), reader(tool.CalibrationDataReader, samples))


METHODS: dict[str, Callable[[Path, Path, Path], None]] = {
    "fold": fold,
    "ort-minmax": onnxruntime_method("MinMax"),
    "ort-entropy": onnxruntime_method("Entropy"),
    "ort-percentile": onnxruntime_method("Percentile"),
    "neural-compressor": neural_compressor,
    "nncf": nncf,
    "quark": quark,
}


def main() -> None:
    method, model, samples, result = sys.argv[1:]
    try:
        METHODS[method](Path(model), Path(samples), Path(result))
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed", file=sys.stderr)
        sys.exit(NOT_INSTALLED)


if __name__ == "__main__":
    main()
