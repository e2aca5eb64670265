"""The device that a network runs on."""

from __future__ import annotations

import torch

from amctc.diagnostics import error


def find_device(name: str | torch.device) -> torch.device:
    """The device of that name, `cpu`, `cuda:0` and the like. `DiagnosticError` (AM906) where torch cannot use it."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        torch.Generator(device)
    except (RuntimeError, AssertionError) as failure:
        reason = str(failure).strip().partition("\n")[0].rstrip(".")
        help = "take `cpu`, or install a torch that is built for the device"
        raise error("AM906", f"torch cannot use the device `{name}`: {reason}", help=help) from None
    return device
