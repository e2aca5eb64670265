"""The keys of `aclgrphCalibration`: each under the name of its constant and under the text that this stands for.

Source: seed 000, and the constants of the original's header `acl_calibration_configs.h`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from amctc.diagnostics import Collector, Diagnostic, did_you_mean
from amctc.source import SourceFile

_LONGEST_SHOWN: Final = 60


@dataclass(frozen=True)
class Key:
    """One key: the name that the manual has for it, the text of the constant, other names of the constant."""

    name: str
    text: str
    others: tuple[str, ...] = ()
    required: bool = False

    @property
    def spellings(self) -> tuple[str, ...]:
        return self.name, self.text, *self.others


KEYS: Final[Mapping[str, Key]] = MappingProxyType(
    {
        key.name: key
        for key in (
            Key("INPUT_DATA_DIR", "inputDataDir", required=True),
            Key("INPUT_SHAPE", "input_shape", required=True),
            Key("SOC_VERSION", "ge.socVersion", required=True),
            Key("INPUT_FORMAT", "input_format"),
            Key("INPUT_FP16_NODES", "ge.INPUT_NODES_SET_FP16"),
            Key("CONFIG_FILE", "configFile"),
            Key("LOG_LEVEL", "log"),
            Key("OUT_NODES", "ge.outputNodeName"),
            Key("INSERT_OP_CONF", "ge.insertOpFile", ("INSERT_OP_FILE",)),
            Key("DEVICE_ID", "deviceId"),
            Key("infer_aicore_num", "ge.aicoreNum", ("AICORE_NUM",)),
            Key("IP_ADDR", "ipAddr"),
            Key("PORT", "port"),
            Key("GROUP_ID", "groupId"),
        )
    }
)
"""By the manual's name."""

_BY_SPELLING: Final[Mapping[str, Key]] = MappingProxyType(
    {spelling: key for key in KEYS.values() for spelling in key.spellings}
)


def read_keys(given: Iterable[tuple[object, object]], collector: Collector) -> dict[str, SourceFile]:
    """The text of each key that is given, by the manual's name; a text is named as the key was spelt.

    A value of blanks alone counts as not given. Mistakes go to the collector: AM880 for keys that there are not or that
    are given twice, AM881 for those that are missing, AM882 for what is no text.
    """
    found: dict[str, SourceFile] = {}
    for spelling, value in given:
        key = _BY_SPELLING.get(spelling) if isinstance(spelling, str) else None
        if key is None:
            collector.add(_unknown(spelling))
        elif not isinstance(value, str):
            message = f"`{spelling}` is of type `{type(value).__name__}`, but must be a text"
            collector.add(Diagnostic("AM882", message, help="give a string; several values stand in one"))
        elif key.name in found:
            message = f"`{spelling}` is given twice, the other time as `{found[key.name].name}`"
            collector.add(Diagnostic("AM880", message, help="take one of the two out"))
        else:
            found[key.name] = SourceFile(str(spelling), value)
    for name, source in list(found.items()):
        if not source.text.strip():
            del found[name]
    for key in KEYS.values():
        if key.required and key.name not in found:
            message = f"`{key.name}` is missing"
            collector.add(Diagnostic("AM881", message, help=f"{_WANTED[key.name]}; `{key.text}` is the same key"))
    return found


_WANTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "INPUT_DATA_DIR": "give the path of a .bin file of data for each input, with commas between them",
        "INPUT_SHAPE": "give the shape of each input: `name1:n,c,h,w;name2:n,c,h,w`",
        "SOC_VERSION": "give the name of the chip, such as `Ascend310P3`",
    }
)


def _unknown(spelling: object) -> Diagnostic:
    if not isinstance(spelling, str):
        return Diagnostic("AM880", f"a key is of type `{type(spelling).__name__}`, but must be a text")
    shown = spelling[:_LONGEST_SHOWN]
    help = did_you_mean(shown, _BY_SPELLING) or f"the keys are {', '.join(f'`{name}`' for name in KEYS)}"
    return Diagnostic("AM880", f"there is no key `{shown}`", help=help)
