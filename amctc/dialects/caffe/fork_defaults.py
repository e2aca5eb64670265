"""What a fork of Caffe means by a field that a model leaves out, said in the model itself.

Nodes are read with our schema. Where a user's proto gives a field another default than ours, the
value goes into the layer's attributes at import, so that everything after it sees what was meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.protobuf.descriptor import Descriptor

from amctc.dialects.caffe.schema import LAYER, caffe_schema
from amctc.text.checked import default_value
from amctc.text.plain import Plain
from amctc.text.proto_schema import Schema


class ForkDefaults:
    """The defaults of a schema that differ from ours, message by message."""

    def __init__(self, schema: Schema) -> None:
        self._theirs = schema.descriptor(LAYER)
        self._ours = caffe_schema().descriptor(LAYER)
        self._differing: dict[str, dict[str, Plain]] = {}

    def written_out(self, attrs: Mapping[str, Plain], parameter: str | None) -> dict[str, Plain]:
        """A layer's attributes with every differing default that counts and was left out.

        `parameter` is the field of the layer's own parameters, which count without being given.
        """
        given = dict(attrs)
        if parameter is not None and parameter not in given and self._pair(parameter) is not None:
            given[parameter] = {}
        filled = {name: self._filled(value, self._pair(name)) for name, value in given.items()}
        if parameter is not None and parameter not in attrs and not filled.get(parameter):
            filled.pop(parameter, None)
        return filled

    def _pair(
        self, name: str, theirs: Descriptor | None = None, ours: Descriptor | None = None
    ) -> tuple[Descriptor, Descriptor] | None:
        """The messages that a field is of in both schemas."""
        their = (theirs or self._theirs).fields_by_name.get(name)
        our = (ours or self._ours).fields_by_name.get(name)
        if their is None or our is None or their.message_type is None or our.message_type is None:
            return None
        return their.message_type, our.message_type

    def _filled(self, value: Plain, pair: tuple[Descriptor, Descriptor] | None) -> Plain:
        if pair is None:
            return value
        if isinstance(value, tuple):
            return tuple(self._filled(item, pair) for item in value)
        if not isinstance(value, dict):
            return value
        inside = {name: self._filled(item, self._pair(name, *pair)) for name, item in value.items()}
        left_out = {name: item for name, item in self._defaults(*pair).items() if name not in value}
        return {**inside, **left_out}

    def _defaults(self, theirs: Descriptor, ours: Descriptor) -> dict[str, Plain]:
        if ours.full_name not in self._differing:
            self._differing[ours.full_name] = dict(_differing(theirs, ours))
        return self._differing[ours.full_name]


def _differing(theirs: Descriptor, ours: Descriptor) -> Iterator[tuple[str, Plain]]:
    for field in theirs.fields:
        own = ours.fields_by_name.get(field.name)
        if own is None or any(one.is_repeated or one.message_type is not None for one in (field, own)):
            continue
        if field.containing_oneof is None and default_value(field) != default_value(own):
            yield field.name, default_value(field)
