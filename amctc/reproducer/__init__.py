"""A failure of a pass as a folder that shows it again, anywhere, and how such a folder is made smaller."""

from amctc.reproducer.failure import Broken, Failure, failure_of
from amctc.reproducer.reduce import Reduction, reduce
from amctc.reproducer.replay import Replay, replay
from amctc.reproducer.reproducer import DataReference, Reproducer, read_reproducer, replay_command
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
