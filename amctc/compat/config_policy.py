"""What the arguments of AMCT's `create_quant_config` say, as a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from amctc.compat.interface_log import InterfaceLog
from amctc.policy import Policy, Said
from amctc.policy.availability import require_post_training
from amctc.policy.flavours import Flavour

BATCH_NUM: Final = 1
ACTIVATION_OFFSET: Final = True


def config_policy(
    interface: InterfaceLog,
    defined: str | None,
    skipped: Sequence[str],
    batch_num: int,
    activation_offset: bool,
    flavour: Flavour,
) -> Policy:
    """The policy of a .cfg file, or of the other arguments where there is none; with one these have no effect.

    Warnings go to `interface`. `flavour` is that of the arguments, and of a file that could be of several. Raises what
    `Policy.from_file` and `require_post_training` do.
    """
    if defined is None:
        names = tuple(Said(name) for name in dict.fromkeys(skipped))
        said = Said(batch_num), Said(activation_offset)
        return Policy(batch_num=said[0], activation_offset=said[1], skip_layers=names, flavour=flavour)
    if skipped or batch_num != BATCH_NUM or activation_offset != ACTIVATION_OFFSET:
        text = f"the settings come from `{defined}`; skip_layers, batch_num and activation_offset have no effect"
        interface.warning("create_quant_config", text)
    policy = Policy.from_file(defined, usual=flavour)
    require_post_training(policy)
    return policy
