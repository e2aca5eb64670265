"""The simple configuration (.cfg, protobuf text format) to a `Policy`, in whichever flavour it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

from amctc.diagnostics import Collector
from amctc.policy.advice import advise
from amctc.policy.checks import raise_in_order
from amctc.policy.checks_policy import check_policy
from amctc.policy.flavours import CAFFE, Flavour, field_hint, recognise
from amctc.policy.read_cfg_kv import read_kv
from amctc.policy.read_cfg_ptq import read_ptq
from amctc.policy.read_cfg_qat import read_qat
from amctc.policy.rules import Policy
from amctc.policy.told_twice import told_twice
from amctc.source import SourceFile
from amctc.text.checked import CheckedMessage
from amctc.text.prototext import parse_prototext
from amctc.text.schema_check import check_message

CFG_SCHEMA: Final = CAFFE.cfg_schema
CFG_MESSAGE: Final = CAFFE.cfg_message

_READERS: Mapping[str, Callable[[CheckedMessage, Flavour], Policy]] = MappingProxyType(
    {"ptq": read_ptq, "qat": read_qat, "kv": read_kv}
)


def read_cfg(source: SourceFile, stated: str | None = None, usual: Flavour = CAFFE) -> Policy:
    """The policy of a .cfg text, of the stated flavour or of the one its fields are of, in doubt the usual one.

    Raises `DiagnosticError` with everything that is wrong: AM101 to AM104 from the syntax, AM200 to
    AM204 where a field does not fit the schema, AM210 to AM227 and AM240 to AM244 where a value is
    not allowed, AM231 for a stated flavour that does not exist.
    """
    collector = Collector()
    tree = parse_prototext(source)
    flavour = recognise(tree, stated, usual)
    root = check_message(
        tree,
        flavour.descriptor,
        collector,
        unknown_fields="error",
        code="AM20",
        oneof_code="AM230",
        hint=partial(field_hint, flavour),
    )
    collector.extend(told_twice(root))
    policy = replace(_READERS[flavour.kind](root, flavour), flavour=flavour, source=source)
    check_policy(policy, collector)
    advise(policy, collector)
    raise_in_order(collector)
    return replace(policy, warnings=collector.warnings)
