"""How the scale of an activation may be chosen: the settings of either algorithm, and their form as plain data.

What is found is an `IfmrResult` for both: a grid, where it came from, and which candidate it was.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

from amctc.quant.hfmg import HFMG, HfmgSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.quant.observers import MERGING, USUAL_OBSERVER
from amctc.quant.percentile import USUAL_PERCENTILE, PercentileObserver
from amctc.text.plain import Plain

ActivationSettings: TypeAlias = IfmrSettings | HfmgSettings
"""The algorithm is told by the class. Both have `bits` and `with_offset`."""


def settings_to_plain(settings: ActivationSettings) -> dict[str, Plain]:
    """The settings as plain data, with the key `algorithm` where it is not IFMR."""
    return dataclasses.asdict(settings)


def settings_from_plain(plain: Plain) -> ActivationSettings:
    """The inverse. Illegal values are an error (AM407), and what is no such data is a `ValueError` or `TypeError`."""
    if not isinstance(plain, dict):
        raise TypeError("settings are a table")
    algorithm = plain.get("algorithm")
    if algorithm is None:
        return IfmrSettings(**plain)  # type: ignore[arg-type]  # written by settings_to_plain
    if algorithm != HFMG:
        raise ValueError(f"there is no algorithm {algorithm!r}")
    return HfmgSettings(**plain)  # type: ignore[arg-type]  # written by settings_to_plain


def for_observer(
    observer: str, settings: ActivationSettings, percentile: float = USUAL_PERCENTILE
) -> tuple[str, ActivationSettings]:
    """Who is to observe under `settings` where `observer` is asked for, and with which settings.

    The usual one stands for the algorithm that the settings are of. Any other takes bits and offset of settings that
    are not its own; one that is registered is given those of IFMR. `percentile` is a part of all values, for the
    observer of that name.
    """
    if isinstance(settings, HfmgSettings) and observer in (USUAL_OBSERVER, HFMG):
        return HFMG, settings
    if observer == HFMG:
        return HFMG, HfmgSettings(settings.bits, settings.with_offset)
    if observer == PercentileObserver.kind:
        return observer, IfmrSettings(settings.bits, settings.with_offset, percentile, percentile)
    if isinstance(settings, HfmgSettings) or (observer in MERGING and observer != USUAL_OBSERVER):
        return observer, IfmrSettings(settings.bits, settings.with_offset)
    return observer, settings
