"""The JSON schemas of the policy languages: what they tell an editor, and the ranges they share with `.cfg`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from amctc.policy.flavours import FLAVOURS, Flavour
from amctc.policy.json_schema import layer_config_schema
from amctc.policy.limits import FLAVOUR_LIMITS


def _objects(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return [found for item in schema for found in _objects(item)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(found for item in schema.values() for found in _objects(item))]


@pytest.mark.parametrize("flavour", FLAVOURS.values(), ids=list(FLAVOURS))
def test_a_json_schema_tells_an_editor_what_everything_is(flavour: Flavour) -> None:
    schema = json.loads(json.dumps(dict(layer_config_schema(flavour.json_schema))))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert schema["title"] and schema["description"]
    for definition in schema["$defs"].values():
        assert definition["title"] if "title" in definition else definition["description"]
    for holder in _objects(schema):
        for name, field in holder.get("properties", {}).items() if "if" not in holder and "const" not in holder else ():
            if isinstance(field, dict) and field.keys() != {"const"}:
                assert "description" in field or "$ref" in field or name in ("name", "option"), name


FIELD_PLACES = {
    "ifmr_quantize": ("activation",),
    "hfmg_quantize": ("activation",),
    "arq_quantize": ("weight",),
    "snq_quantize": ("weight",),
    "ada_quantize": ("weight",),
    "ulq_quantize": ("data",),
    "arq_retrain": ("weight",),
    "balanced_l2_norm_filter_prune": ("prune",),
}
OTHER_NAMES = {"quant_bits": "num_bits"}


def _field(schema: Any, message: str, name: str) -> Any:
    """The JSON field for a field of a .cfg message."""
    if message == "dmq_balancer":
        return schema["$defs"]["layer"]["properties"]["dmq_balancer_param"]
    if message == "bn_update_config":
        return schema["$defs"]["bn_update"]["properties"][name]
    holder = schema if not message else schema["$defs"][FIELD_PLACES[message][0]]
    branches = [holder, holder.get("then", {}), holder.get("else", {})]
    if message == "snq_quantize":
        branches = [holder["then"]]
    elif message == "arq_quantize":
        branches = [holder.get("else", holder)]
    wanted = OTHER_NAMES.get(name, name)
    if wanted.startswith(("search_range_", "beta_range_")):
        wanted = wanted.rpartition("_")[0]
    (found,) = {json.dumps(b["properties"][wanted]) for b in branches if wanted in b.get("properties", {})}
    field = json.loads(found)
    return field["items"] if field["type"] == "array" else field


@pytest.mark.parametrize(("flavour", "key"), [(name, key) for name, limits in FLAVOUR_LIMITS.items() for key in limits])
def test_the_two_forms_of_a_flavour_have_the_same_ranges(flavour: str, key: str) -> None:
    message, _, name = key.rpartition(".")
    field = _field(layer_config_schema(FLAVOURS[flavour].json_schema), message, name)
    limits = FLAVOUR_LIMITS[flavour][key]
    if limits.choices:
        assert tuple(field["enum"]) == limits.choices
        return
    low = field.get("const", field.get("minimum", field.get("exclusiveMinimum", float("-inf"))))
    assert low == float(limits.low)
    assert limits.above is ("exclusiveMinimum" in field)
    if limits.high is not None:
        assert field.get("const", field.get("maximum", field.get("exclusiveMaximum"))) == float(limits.high)
        assert limits.below is ("exclusiveMaximum" in field)
