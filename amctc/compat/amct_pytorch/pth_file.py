"""States of models in files of `torch.save`. Nothing but tensors and plain containers is read from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from amctc.diagnostics import error

_WRAPPED: Final = "module."
"""What DataParallel puts before every name."""

_FOREIGN: Final = (
    "acts_clip_max_pre",
    "acts_clip_min_pre",
    "acts_offset",
    "acts_scale",
    "cur_batch",
    "offset_w",
    "prune_cur_batch",
    "quant_layer_num",
    "s_rec_flag",
    "scale_w",
    "wts_mask",
    "wts_offsets",
    "wts_scales",
)
"""What AMCT keeps in the state of a layer, and a layer here does without; `wts_scales` where they are not learned."""


def read_state(file: str | Path, name: str | None) -> Mapping[str, Tensor]:
    """The state dict in a file, or under a name in the dict that the file holds, on the CPU.

    Raises `DiagnosticError`: AM960 for a file that cannot be read, or holds other things than tensors, numbers, texts
    and containers of these; AM961 where no state dict is there.
    """
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as failure:
        reason = (failure.strerror or "unreadable").lower()
        raise error("AM960", f"cannot read this file: {reason}", file=str(file)) from None
    except Exception as failure:  # a damaged file can make torch raise anything
        first = str(failure).partition("\n")[0][:200]
        message = f"this is no file of `torch.save` that holds a state alone: {first}"
        help = "save the state, `torch.save(model.state_dict(), file)`, not the model"
        raise error("AM960", message, file=str(file), help=help) from None
    if name is not None:
        if not isinstance(found, dict) or name not in found:
            known = ", ".join(f"`{key}`" for key in list(found)[:5]) if isinstance(found, dict) else "no names at all"
            message = f"there is nothing under `{name}` in this file, which has {known}"
            raise error("AM961", message, file=str(file), help="see what `state_dict_name` is when it is saved")
        found = found[name]
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()):
        message = "this file holds no state dict" if name is None else f"`{name}` in this file is no state dict"
        raise error("AM961", message, file=str(file), help="say under which `state_dict_name` the state lies")
    return {str(key): tensor for key, tensor in found.items()}


def take_state(model: nn.Module, state: Mapping[str, Tensor], file: str | Path) -> None:
    """Load a state into a model that is trained with quantization; of AMCT's states too, whose other parts are left.

    Raises `DiagnosticError` (AM962) for a state that lacks something or has something of another shape or name.
    """
    own = model.state_dict()
    wrapped = bool(state) and all(name.startswith(_WRAPPED) for name in state) and not own.keys() & state.keys()
    given = {name.removeprefix(_WRAPPED) if wrapped else name: tensor for name, tensor in state.items()}
    lacking = next((name for name in own if name not in given), None)
    if lacking is not None:
        raise _of_another(f"it has no `{lacking}`", file)
    strange = next((name for name in given if name not in own and name.rpartition(".")[2] not in _FOREIGN), None)
    if strange is not None:
        raise _of_another(f"it has `{strange}`, which this model does not", file)
    wrong = next((name for name, tensor in own.items() if not _fits(given[name], tensor)), None)
    if wrong is not None:
        raise _of_another(f"`{wrong}` is {_words(given[wrong])}, not {_words(own[wrong])}", file)
    model.load_state_dict({name: given[name] for name in own})


def _fits(given: Tensor, own: Tensor) -> bool:
    """Whether a tensor of a file, where it may be of any kind, holds numbers for one of the model."""
    plain = given.layout == torch.strided and not (given.is_meta or given.is_quantized or given.is_complex())
    return plain and given.shape == own.shape and given.is_floating_point() == own.is_floating_point()


def _words(tensor: Tensor) -> str:
    return f"{tensor.layout} {tensor.dtype} {tuple(tensor.shape)}".replace("torch.", "").removeprefix("strided ")


def _of_another(reason: str, file: str | Path) -> Exception:
    help = "give the model, and the config, that the file was saved with"
    return error("AM962", f"this state is one of another model: {reason}", file=str(file), help=help)
