"""The texts of layouts that GE's loaders know, with their numbers in `ge::Format`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from amctc.air.data_types import FORMATS

_OTHER_TEXTS = {
    "DECONV_SP_STRIDE8_TRANS": "FRACTAL_DECONV_SP_STRIDE8_TRANS",
    "LOOKUP_LOOKUPS": "HASHTABLE_LOOKUP_LOOKUPS",
    "LOOKUP_KEYS": "HASHTABLE_LOOKUP_KEYS",
    "LOOKUP_VALUE": "HASHTABLE_LOOKUP_VALUE",
    "LOOKUP_OUTPUT": "HASHTABLE_LOOKUP_OUTPUT",
    "LOOKUP_HITS": "HASHTABLE_LOOKUP_HITS",
}
"""What files say for a format whose enum value has another name."""

_NEWER = (
    "ND_RNN_BIAS FRACTAL_ZN_RNN NYUV NYUV_A NCL FRACTAL_Z_WINO C1HWC0 FRACTAL_NZ_C0_16 FRACTAL_NZ_C0_32 "
    "FRACTAL_NZ_C0_2 FRACTAL_NZ_C0_4 FRACTAL_NZ_C0_8"
)
"""Formats of the newer generation, numbered from 43."""

LAYOUTS: Mapping[str, int] = MappingProxyType(
    {
        **FORMATS,
        **{text: FORMATS[name] for text, name in _OTHER_TEXTS.items()},
        **{name: number for number, name in enumerate(_NEWER.split(), 43)},
    }
)
"""Every text that a layout may be, without the part behind its colon."""

_LAYOUT = re.compile(r"([A-Za-z0-9_]{1,64})(?::(0|[1-9][0-9]{0,4}))?")


def layout_number(text: str) -> int | None:
    """`ge::Format` of a layout: the format in the lowest byte, the part behind the colon above. None for no layout."""
    parts = _LAYOUT.fullmatch(text)
    if parts is None or parts[1] not in LAYOUTS:
        return None
    sub = int(parts[2] or 0)
    return LAYOUTS[parts[1]] | sub << 8 if sub <= 0xFFFF else None
