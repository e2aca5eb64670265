"""The recorded runs of AMCT's post-training quantization, run again with ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import amctc.compat.amct_pytorch as amct
from tests.modules.nets import MODELS, digits, misc
from tests.shared_files import GOLDEN

FOLDER = GOLDEN / "amct_pytorch"
CASES = sorted(path.name for path in (FOLDER / "ptq").iterdir()) if FOLDER.is_dir() else []
BALANCED = ("dmq", "misc_dmq")
FREE_BATCH: dict[str, Any] = {
    "input_names": ["x"],
    "output_names": ["y"],
    "dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}},
}


def module_of(case: str) -> torch.nn.Module:
    return misc() if case.startswith("misc") else digits()


def batches_of(case: str) -> list[torch.Tensor]:
    """The calibration data of a case, batch by batch."""
    file, key = ("misc_net.npz", "x") if case.startswith("misc") else ("digits_io.npz", "calib")
    with np.load(MODELS / file) as arrays:
        return [torch.from_numpy(each) for each in arrays[key]]


def arguments_of(case: str) -> dict[str, Any]:
    """What `create_quant_config` was called with beside files, module and data."""
    folder = FOLDER / "ptq" / case
    said: dict[str, Any] = json.loads((folder / "info.json").read_text())["create_quant_config"]
    return said | {"config_defination": str(folder / "quant.cfg") if said["config_defination"] else None}


@dataclass(frozen=True)
class Run:
    """What the steps of one case left: files in a folder, the calibration model, and its outputs [batches, …]."""

    folder: Path
    calibration_model: torch.nn.Module
    outputs: NDArray[np.float32]

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


def run(case: str, folder: Path) -> Run:
    """All steps of a case, in AMCT's order."""
    module, batches = module_of(case), batches_of(case)
    example = (batches[0],)
    config, record, modified = (str(folder / name) for name in ("config.json", "record.txt", "modified.onnx"))
    amct.create_quant_config(config, module, example, **arguments_of(case))
    with torch.no_grad():
        if case in BALANCED:
            amct.quantize_preprocess(config, record, module, example)(batches[0])
            (folder / "record_dmq.txt").write_bytes((folder / "record.txt").read_bytes())
        model = amct.quantize_model(config, modified, record, module, example, **FREE_BATCH)
        batch_num = json.loads(Path(config).read_text())["batch_num"]
        outputs = np.stack([model(batch).numpy() for batch in batches[:batch_num]])
    amct.save_model(modified, record, f"{folder}/")
    return Run(folder, model, outputs)
