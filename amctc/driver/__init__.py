"""The only place that knows every stage: files in, quantized files out."""

from __future__ import annotations

from amctc.driver.caffe_files import merge_proto, uninplace_model
from amctc.driver.compare import COMPARISON_HEAD, ComparedValue, Comparison, compare, compare_models
from amctc.driver.convert import convert
from amctc.driver.explain_pass import PassExplanation, explain_pass
from amctc.driver.export import ExportResult, export
from amctc.driver.ge import calibrate_ge, calibrate_ge_file
from amctc.driver.policies import check, explain, write_config
from amctc.driver.quantize import CompileResult, compile
from amctc.driver.run import (
    declared_batch,
    evaluate,
    evaluate_model,
    open_dataset,
    run_batches,
    run_blobs,
    run_to_file,
)
from amctc.driver.train import TrainResult, train

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
    "uninplace_model",
    "write_config",
]
