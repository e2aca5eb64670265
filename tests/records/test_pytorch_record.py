"""Records in the form that AMCT gives them for PyTorch modules."""

from __future__ import annotations

import pytest

from amctc.records.pytorch_record import pytorch_record_text
from amctc.records.read_record import parse_record, read_record
from amctc.records.scale_record import InputRecord, LayerRecord
from amctc.source import SourceFile
from tests.shared_files import GOLDEN, needs_golden

FOLDER = GOLDEN / "amct_pytorch" / "ptq"
WEIGHTLESS = {"pool"}

TEXT = """\
record {
  key: "conv"
  value {
    scale_d: 0.1
    offset_d: -3
    scale_w: 0.5
    scale_w: 0.25
    offset_w: 0
    offset_w: 0
    tensor_balance_factor: 2.0
    act_type: "INT16"
    wts_type: "INT4"
  }
}
record {
  key: "pool"
  value {
    scale_w: 1.0
    offset_w: 0
  }
}
record {
  key: "bn"
  value {
    skip_fusion: true
    fakequant_precision_mode: "FORCE_FP16_QUANT"
  }
}
"""


def test_fields_stand_in_the_order_of_amct() -> None:
    conv = LayerRecord("conv", (InputRecord(0, 0.1, -3, 12),), balance=(2.0,)).with_weights([0.5, 0.25], 4)
    entries = (conv, LayerRecord("pool"), LayerRecord("bn", skip_fusion=True, precision_mode="FORCE_FP16_QUANT"))
    text = pytorch_record_text(entries, WEIGHTLESS)
    assert text == TEXT
    read = parse_record(SourceFile("record.txt", text)).by_name["conv"]
    (given,) = read.inputs
    assert (given.offset, given.bits, read.scale_w, read.bits_w, read.balance) == (-3, 16, (0.5, 0.25), 4, (2.0,))


@needs_golden
@pytest.mark.parametrize("case", ["default", "dmq", "arq_4bit", "hfmg_int16", "skip_layers", "misc_default"])
def test_a_record_of_amct_is_written_again_as_it_was(case: str) -> None:
    path = FOLDER / case / "record.txt"
    assert pytorch_record_text(read_record(path).layers, ()) == _without_words_of_poolings(path.read_text())


def _without_words_of_poolings(text: str) -> str:
    """A pooling has weights in the record, but not their type: read as a layer with weights, it gets one."""
    parts = text.split("record {")
    told = [part.replace('act_type: "INT8"\n', 'act_type: "INT8"\n    wts_type: "INT8"\n') for part in parts]
    return "record {".join(other if '"pool"' in part else part for part, other in zip(parts, told, strict=True))
