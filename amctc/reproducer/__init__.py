"""A failure of a pass as a folder that shows it again, anywhere, and how such a folder is made smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from amctc.on_demand import on_demand

if TYPE_CHECKING:
    from amctc.reproducer.data_reference import DataReference
    from amctc.reproducer.failure import Broken, Failure, failure_of
    from amctc.reproducer.reduction import Reduction, reduce
    from amctc.reproducer.replaying import Replay, replay
    from amctc.reproducer.reproducer import Reproducer, read_reproducer, replay_command
    from amctc.reproducer.write import Reload, reproducer_note, write_reproducer

__all__ = [
    "Broken",
    "DataReference",
    "Failure",
    "Reduction",
    "Reload",
    "Replay",
    "Reproducer",
    "failure_of",
    "read_reproducer",
    "reduce",
    "replay",
    "replay_command",
    "reproducer_note",
    "write_reproducer",
]

_NAMES = {
    "data_reference": ("DataReference",),
    "failure": ("Broken", "Failure", "failure_of"),
    "reduction": ("Reduction", "reduce"),
    "replaying": ("Replay", "replay"),
    "reproducer": ("Reproducer", "read_reproducer", "replay_command"),
    "write": ("Reload", "reproducer_note", "write_reproducer"),
}

# A compilation needs the first alone, unless one of its passes breaks.
__getattr__ = on_demand(
    __name__, {name: f"amctc.reproducer.{place}" for place, names in _NAMES.items() for name in names}
)
