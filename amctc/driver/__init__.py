"""The only place that knows every stage: files in, quantized files out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand

if TYPE_CHECKING:
    from amctc.driver.caffe_files import merge_proto, uninplace_model
    from amctc.driver.comparison import COMPARISON_HEAD, ComparedValue, Comparison, compare, compare_models
    from amctc.driver.conversion import convert
    from amctc.driver.data import declared_batch, open_dataset
    from amctc.driver.exporting import ExportResult, export
    from amctc.driver.ge import calibrate_ge, calibrate_ge_file
    from amctc.driver.pass_explanation import PassExplanation, explain_pass
    from amctc.driver.policies import check, explain, write_config
    from amctc.driver.quantize import CompileResult, compile
    from amctc.driver.quantized_training import train_quantized
    from amctc.driver.run import (
        evaluate,
        evaluate_model,
        run_batches,
        run_blobs,
        run_to_file,
    )
    from amctc.driver.training import TrainResult, train

__all__ = [
    "COMPARISON_HEAD",
    "ComparedValue",
    "Comparison",
    "CompileResult",
    "ExportResult",
    "PassExplanation",
    "TrainResult",
    "calibrate_ge",
    "calibrate_ge_file",
    "check",
    "compare",
    "compare_models",
    "compile",
    "convert",
    "declared_batch",
    "evaluate",
    "evaluate_model",
    "explain",
    "explain_pass",
    "export",
    "merge_proto",
    "open_dataset",
    "run_batches",
    "run_blobs",
    "run_to_file",
    "train",
    "train_quantized",
    "uninplace_model",
    "write_config",
]

_NAMES = {
    "caffe_files": ("merge_proto", "uninplace_model"),
    "comparison": ("COMPARISON_HEAD", "ComparedValue", "Comparison", "compare", "compare_models"),
    "conversion": ("convert",),
    "data": ("declared_batch", "open_dataset"),
    "exporting": ("ExportResult", "export"),
    "ge": ("calibrate_ge", "calibrate_ge_file"),
    "pass_explanation": ("PassExplanation", "explain_pass"),
    "policies": ("check", "explain", "write_config"),
    "quantize": ("CompileResult", "compile"),
    "quantized_training": ("train_quantized",),
    "run": (
        "evaluate",
        "evaluate_model",
        "run_batches",
        "run_blobs",
        "run_to_file",
    ),
    "training": ("TrainResult", "train"),
}

# One command needs one of these modules, and each brings half of the program with it.
__getattr__ = on_demand(__name__, {name: f"amctc.driver.{place}" for place, names in _NAMES.items() for name in names})
