"""What can watch the passes of a pipeline: time, text, history, dumps, equal numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand

if TYPE_CHECKING:
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

_NAMES = {
    "dumps": ("Dumps",),
    "equivalence": ("TOLERANCE", "CheckEquivalence", "NotEquivalent"),
    "layer_history": ("LayerHistory",),
    "print_ir": ("ALL", "PrintIR"),
    "running": ("Running",),
    "timing": ("TIMING_HEAD", "Timing", "TimingRow", "timing_rows", "timing_table", "timing_to_json"),
}

__getattr__ = on_demand(
    __name__, {name: f"amctc.instruments.{place}" for place, names in _NAMES.items() for name in names}
)
