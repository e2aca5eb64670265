"""What IFMR has seen of the ranges of data in a training that is interrupted while it still measures them.

A file beside the snapshot: a checkpoint of calibration, with one state for each range, of the batches seen so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from amctc.diagnostics import DiagnosticError, error
from amctc.quant.observer import IfmrObserver
from amctc.quant.observer_state import from_bytes, to_bytes
from amctc.runtime.calibration_state import CalibrationState, NoState
from amctc.runtime.checkpoint import Checkpoint, read_checkpoint
from amctc.training.quantizers import Seen, UlqState

_ITERATION: Final = "iteration"


def ranges_path(state: str | Path) -> Path:
    """The file that belongs to a `.solverstate`: of the same name, with the ending `.ranges`."""
    return Path(state).with_suffix(".ranges")


def ranges_bytes(clips: Mapping[str, UlqState], iteration: int) -> bytes | None:
    """The content of the file; None where nothing is being measured."""
    found = {
        name: (CalibrationState(0, state.seen, ((to_bytes(state.observer),),)),)
        for name, state in clips.items()
        if state.is_measuring
    }
    return Checkpoint({_ITERATION: str(iteration)}, found).to_bytes() if found else None


def read_ranges(path: Path, clips: Mapping[str, UlqState], iteration: int) -> dict[str, Seen]:
    """What was seen of each range that was being measured; nothing where there is no file.

    Nothing in the file is trusted. Raises `DiagnosticError` (AM932) for one that is damaged, or of another training.
    """
    if not path.exists():
        return {}
    try:
        checkpoint = read_checkpoint(path)
        if checkpoint.identity != {_ITERATION: str(iteration)}:
            raise NoState(f"it is not of iteration {iteration}")
        return {name: _range(name, states, clips) for name, states in checkpoint.found.items()}
    except OSError as problem:
        raise _unusable(path, (problem.strerror or str(problem)).lower()) from None
    except NoState as problem:
        raise _unusable(path, str(problem)) from None
    except DiagnosticError as problem:
        raise _unusable(path, problem.diagnostics[0].message) from None


def _range(name: str, states: Sequence[CalibrationState], clips: Mapping[str, UlqState]) -> Seen:
    if name not in clips:
        raise NoState(f"this net learns no range in `{name}`")
    wanted = clips[name]
    if len(states) != 1 or len(states[0].parts) != 1 or len(states[0].parts[0]) != 1:
        raise NoState(f"the range of `{name}` has not one state")
    state, observer = states[0], from_bytes(states[0].parts[0][0], wanted.name)
    if type(observer) is not IfmrObserver or observer.settings != wanted.settings:
        raise NoState(f"the range of `{name}` is measured in another way")
    if state.start or state.stop >= wanted.batches:
        raise NoState(f"the range of `{name}` is not being measured")
    return Seen(state.stop, observer)


def _unusable(path: Path, why: str) -> DiagnosticError:
    help = "resume with the net that the snapshot was made with; without this file its ranges are measured anew"
    return error("AM932", f"what was seen of the ranges cannot be taken up: {why}", file=str(path), help=help)
