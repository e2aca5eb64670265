"""The JSON layer config (what `amctc config` writes) to a `Policy`, in whichever flavour it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from amctc.diagnostics import Collector
from amctc.policy.advice import advise
from amctc.policy.checks import raise_in_order
from amctc.policy.flavours import CAFFE, Flavour, recognise
from amctc.policy.json_findings import validate
from amctc.policy.read_json_kv import read_json_kv
from amctc.policy.read_json_ptq import read_json_ptq
from amctc.policy.read_json_qat import read_json_qat
from amctc.policy.rules import Policy
from amctc.source import SourceFile
from amctc.text.json_source import parse_json
from amctc.text.json_tree import JsonNode

_READERS: Mapping[str, Callable[[JsonNode, Flavour, Collector], Policy]] = MappingProxyType(
    {"ptq": read_json_ptq, "qat": read_json_qat, "kv": read_json_kv}
)


def read_json_config(source: SourceFile, stated: str | None = None, usual: Flavour = CAFFE) -> Policy:
    """The policy of a JSON layer config, of the stated flavour or of the one its keys are of, in doubt the usual one.

    Raises `DiagnosticError` with everything that is wrong: AM101 to AM130 from the syntax, AM231 for a
    stated flavour that does not exist, then what `json_findings.validate` finds, names and options
    told twice (AM211), searches that cannot be (AM212 to AM214) and values that do not go together
    (AM240 to AM243).
    """
    root = parse_json(source)
    collector = Collector()
    flavour = recognise(root, stated, usual)
    validate(root, flavour, collector)
    policy = replace(_READERS[flavour.kind](root, flavour, collector), flavour=flavour, source=source)
    advise(policy, collector)
    raise_in_order(collector)
    return replace(policy, warnings=collector.warnings)
