"""Whatever the text, a policy is read or refused with a diagnostic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amctc.diagnostics import DiagnosticError
from amctc.policy import Policy, explain, resolve, to_json
from amctc.policy.read import MAX_POLICY_BYTES
from amctc.source import SourceFile
from tests.policy.texts import SAMPLE_CFG, SNQ_JSON, UNIFORM_JSON, mistakes_of, small_graph

WORDS = [
    *("version", "batch_num", "joint_quant", "skip_fusion_layers", "bn_update_config", "pass", "name", "option"),
    *("conv1", "sum", "quant_enable", "activation_quant_params", "weight_quant_params", "num_bits", "with_offset"),
    *("search_range", "search_step", "max_percentile", "wts_algo", "channel_wise", "max_iteration", "init_algo"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 20),
    st.integers(10**30, 10**31),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["arq_quantize", "snq_quantize", "uniform", "conv1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=20,
)


def is_read_or_refused(source: SourceFile) -> None:
    try:
        resolved = resolve(Policy.from_text(source), small_graph())
    except DiagnosticError as refusal:
        assert refusal.diagnostics
        assert str(refusal)
        return
    assert explain(resolved)
    if resolved.policy.flavour.kind == "ptq":
        assert to_json(resolved)


@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=6))
def test_any_json_object_is_read_or_refused(value: dict[str, object]) -> None:
    is_read_or_refused(SourceFile("config.json", json.dumps(value)))


@given(
    st.sampled_from([SAMPLE_CFG, UNIFORM_JSON, SNQ_JSON]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 12),
    st.sampled_from(["", "{", "}", "[", '"', "'", ":", ",", "#", "-", "0", "1e999", "nan", "true", "\\", "\0", "é"]),
)
def test_a_damaged_sample_is_read_or_refused(sample: str, where: float, cut: int, patch: str) -> None:
    at = int(where * len(sample))
    is_read_or_refused(SourceFile("policy", sample[:at] + patch + sample[at + cut :]))


@pytest.mark.parametrize("name", ["quant.cfg", "config.json"])
def test_nesting_is_bounded(name: str) -> None:
    deep = "[" * 5000 if name.endswith("json") else "common_config {" * 5000
    assert mistakes_of(('{"a":' if name.endswith("json") else "") + deep, name)[0][0] == "AM103"


def test_a_long_list_of_names_that_are_not_there_is_refused_in_full() -> None:
    text = "skip_layers: [" + ", ".join(f'"conv{i}"' for i in range(100, 3100)) + "]"
    with pytest.raises(DiagnosticError) as caught:
        resolve(Policy.from_text(SourceFile("quant.cfg", text)), small_graph())
    assert len(caught.value.diagnostics) == 3000


def test_a_policy_over_the_limit_of_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.cfg"
    path.write_bytes(b"#" * (MAX_POLICY_BYTES + 1))
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_file(path)
    assert [found.code for found in caught.value.diagnostics] == ["AM102"]
