"""Attributes of every holder: that they have a value, and that lists say what they hold.

Values nest (a tensor has a descriptor, which has attributes), but never deeper than protobuf and the text reader let
messages nest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from amctc.air.schema import AttrDef, GraphDef, TensorDef, TensorDescriptor
from amctc.air.verify.descriptors import check_data, check_descriptor
from amctc.air.verify.report import Report, shown

Attributes: TypeAlias = Any
"""A map from names to `AttrDef`."""

TakeGraph: TypeAlias = Callable[[str, GraphDef], None]
"""What is done with a graph that an attribute holds; the text says where."""

LIST_FIELDS: Mapping[int, str] = MappingProxyType(
    {1: "s", 2: "i", 3: "f", 4: "b", 5: "bt", 6: "td", 7: "t", 8: "g", 9: "na", 10: "dt"}
)
"""The field of a `ListValue` that each `val_type` stands for."""

UNTYPED_LISTS = frozenset(
    {
        *("_input_name_key", "_input_name_value", "_output_name_key", "_output_name_value", "_opt_input"),
        *("_ir_attr_names", "_ir_inputs_key", "_ir_inputs_value", "_ir_outputs_key", "_ir_outputs_value"),
        "_src_out_peer_index_for_ge_txt_load",
    }
)
"""Lists of an op that go without `val_type`: loaders take them out before they read attributes."""

_VALUE_TYPES = {field: number for number, field in LIST_FIELDS.items()}


class AttributeChecker:
    """AM371 and AM372 for attributes, and what the modules of descriptors and tensors say of those inside."""

    def __init__(self, report: Report, take_graph: TakeGraph) -> None:
        self._report = report
        self._take_graph = take_graph

    def attributes(self, where: str, attrs: Attributes, untyped: frozenset[str] = frozenset()) -> None:
        """Check a map of attributes; `untyped` names the lists that need no `val_type`."""
        for name in sorted(attrs):
            self._attribute(f"{where}, attribute {shown(name)}", attrs[name], typed=name not in untyped)

    def descriptor(self, where: str, desc: TensorDescriptor) -> None:
        """A descriptor with its attributes."""
        check_descriptor(where, desc, self._report)
        self.attributes(where, desc.attr)

    def tensor(self, where: str, tensor: TensorDef, *, required: bool = False) -> None:
        """A tensor with its descriptor; `required` says that it must have data."""
        self.descriptor(where, tensor.desc)
        check_data(where, tensor, self._report, required=required)

    def _attribute(self, where: str, attr: AttrDef, *, typed: bool) -> None:
        match attr.WhichOneof("value"):
            case None:
                self._report.error("AM371", f"{where} has no value", "the loader of 2026 drops it")
            case "list":
                self._list(where, attr.list, typed=typed)
            case "func":
                self.attributes(where, attr.func.attr)
            case "td":
                self.descriptor(where, attr.td)
            case "t":
                self.tensor(where, attr.t)
            case "g":
                self._take_graph(where, attr.g)
            case _:
                pass

    def _list(self, where: str, value: Any, *, typed: bool) -> None:
        held = [field.name for field, _ in value.ListFields() if field.name in _VALUE_TYPES]
        if typed or value.val_type:
            self._check_type(where, value.val_type, held)
        for number, desc in enumerate(value.td):
            self.descriptor(f"{where} [{number}]", desc)
        for number, tensor in enumerate(value.t):
            self.tensor(f"{where} [{number}]", tensor)
        for number, graph in enumerate(value.g):
            self._take_graph(f"{where} [{number}]", graph)
        for number, named in enumerate(value.na):
            self.attributes(f"{where} [{number}]", named.attr)

    def _check_type(self, where: str, val_type: int, held: list[str]) -> None:
        if not val_type:
            told = f"; it has values of `{held[0]}`, so {_VALUE_TYPES[held[0]]}" if held else ""
            help = f"the loader of 2026 drops a list without it{told}"
            self._report.error("AM372", f"{where} is a list without `val_type`", help)
        elif val_type not in LIST_FIELDS:
            help = "the loader of 2026 refuses the file"
            self._report.error("AM372", f"{where} is a list of the `val_type` {val_type}, which there is not", help)
        else:
            others = [field for field in held if field != LIST_FIELDS[val_type]]
            if others:
                told = f"of the `val_type` {val_type}, which means `{LIST_FIELDS[val_type]}`"
                help = "the loader of 2026 drops what the type does not stand for"
                self._report.error("AM372", f"{where} is a list {told}, but has values of `{others[0]}`", help)
