"""The texts of layouts that GE's loaders know, with their numbers in `ge::Format`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

RESERVED = "FORMAT_RESERVED"
"""The layout of a descriptor that stands for an input that is left out."""

_FORMATS = (
    "NCHW NHWC ND NC1HWC0 FRACTAL_Z NC1C0HWPAD NHWC1C0 FSR_NCHW FRACTAL_DECONV C1HWNC0 FRACTAL_DECONV_TRANSPOSE "
    "FRACTAL_DECONV_SP_STRIDE_TRANS NC1HWC0_C04 FRACTAL_Z_C04 CHWN FRACTAL_DECONV_SP_STRIDE8_TRANS HWCN NC1KHKWHWC0 "
    "BN_WEIGHT FILTER_HWCK HASHTABLE_LOOKUP_LOOKUPS HASHTABLE_LOOKUP_KEYS HASHTABLE_LOOKUP_VALUE "
    "HASHTABLE_LOOKUP_OUTPUT HASHTABLE_LOOKUP_HITS C1HWNCoC0 MD NDHWC FRACTAL_ZZ FRACTAL_NZ NCDHW DHWCN NDC1HWC0 "
    "FRACTAL_Z_3D CN NC DHWNC FRACTAL_Z_3D_TRANSPOSE FRACTAL_ZN_LSTM FRACTAL_Z_G FORMAT_RESERVED ALL NULL"
)
"""`ge::Format` in the order of its numbers."""

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
"""Those that the newer generation has behind them, from 43 on."""

_NUMBERS = {name: number for number, name in enumerate(f"{_FORMATS} {_NEWER}".split())}
LAYOUTS: Mapping[str, int] = MappingProxyType(
    {**_NUMBERS, **{text: _NUMBERS[name] for text, name in _OTHER_TEXTS.items()}}
)
"""Every text that a layout may be, without the part behind its colon."""

LAYOUT_NAMES: Mapping[int, str] = MappingProxyType({number: name for name, number in _NUMBERS.items()})
"""The inverse: `ge::Format` is the lowest byte of a number, the two above are the part behind the colon."""

_LAYOUT = re.compile(r"([A-Za-z0-9_]{1,64})(?::(0|[1-9][0-9]{0,4}))?")


def layout_number(text: str) -> int | None:
    """`ge::Format` of a layout: the format in the lowest byte, the part behind the colon above. None for no layout."""
    parts = _LAYOUT.fullmatch(text)
    if parts is None or parts[1] not in LAYOUTS:
        return None
    sub = int(parts[2] or 0)
    return LAYOUTS[parts[1]] | sub << 8 if sub <= 0xFFFF else None
