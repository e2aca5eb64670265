"""Whether the folder for the renewed BatchNorm statistics can be written: told before the calibration, not after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from amctc.diagnostics import Diagnostic
from amctc.policy.checks import DUMP_DIR_HELP
from amctc.policy.resolved import ResolvedPolicy

_SHOWN: Final = 200


def check_dump_dir(policy: ResolvedPolicy, base: Path = Path()) -> Diagnostic | None:
    """AM245 where `bn_dump_dir` is no folder and cannot be made one, or may not be written; else None.

    A name that is not absolute is one in the folder `base`, by default the current one. The diagnostic points at the
    place in the policy.
    Nothing is made or written. None too where no statistics are renewed: the name has no effect then.
    """
    config = policy.general.bn_update_config
    folder = config.bn_dump_dir if config is not None else None
    if folder is None or not policy.update_bn:
        return None
    reason = _reason(folder.value, base)
    if reason is None:
        return None
    message = f"the folder `{folder.value[:_SHOWN]}` for the renewed statistics cannot be written: {reason}"
    return Diagnostic("AM245", message, span=folder.rule.span, help=DUMP_DIR_HELP)


def _reason(name: str, base: Path) -> str | None:
    """What is in the way of writing into a folder, which need not be there; None if nothing is."""
    if not name:
        return "its name is empty"
    folder = base / name
    for path in (folder, *folder.absolute().parents):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as failure:
            return (failure.strerror or "it cannot be looked at").lower()
        except ValueError:
            return "no file can be called so"
        shown = "it" if path == folder else f"`{str(path)[:_SHOWN]}`"
        if not path.is_dir():
            return f"{shown} is not a folder"
        return None if os.access(path, os.W_OK | os.X_OK) else f"{shown} may not be written"
    return "it is nowhere"
