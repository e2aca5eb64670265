"""What can watch the passes of a pipeline: time, text, history, dumps, equal numbers."""

from amctc.instruments.dumps import Dumps
from amctc.instruments.equivalence import TOLERANCE, CheckEquivalence, NotEquivalent
from amctc.instruments.layer_history import LayerHistory
from amctc.instruments.print_ir import ALL, PrintIR
from amctc.instruments.running import Running
from amctc.instruments.timing import TIMING_HEAD, Timing, TimingRow, timing_rows, timing_table, timing_to_json

__all__ = [
    "ALL",
    "TIMING_HEAD",
    "TOLERANCE",
    "CheckEquivalence",
    "Dumps",
    "LayerHistory",
    "NotEquivalent",
    "PrintIR",
    "Running",
    "Timing",
    "TimingRow",
    "timing_rows",
    "timing_table",
    "timing_to_json",
]
