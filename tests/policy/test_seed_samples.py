"""Every policy sample of the manuals, taken from them by its place: what it says, or what is wrong with it."""

from __future__ import annotations

import re
from functools import cache

import pytest

from amctc.diagnostics import Diagnostic, DiagnosticError
from amctc.ir import Graph
from amctc.policy import ArqSettings, BnUpdate, Policy, ResolvedPolicy, Said, SnqSettings, not_yet_available, resolve
from amctc.policy.read import is_json
from amctc.policy.rules_qat import TrainingDataRule, TrainingWeightRule
from amctc.quant.activation import ActivationSettings
from amctc.quant.ifmr import IfmrSettings
from amctc.source import SourceFile
from tests.policy.texts import places, small_graph
from tests.shared_files import SEEDS, needs_seeds

pytestmark = needs_seeds

GUIDE = "001_amct_caffe_guide.md"
BN_UPDATE, COMMON, OVERRIDES = 1275, 1286, 1307
UNIFORM, NON_UNIFORM = 1398, 1446
TRAINING, CLIPPED = 1949, 2113
CREATED, CREATED_TRAINING = 2292, 2579
WHOLE = 3366
SAMPLES = (BN_UPDATE, COMMON, OVERRIDES, UNIFORM, NON_UNIFORM, TRAINING, CLIPPED, CREATED, CREATED_TRAINING, WHOLE)
"""The lines of the guide whose fences open the samples."""

RENEWAL = BnUpdate(30, 0.5, "tmp/bn_data")

_LIKE_A_POLICY = re.compile(r'(?:quantize|retrain_\w+_config|kv_\w+_config|bn_update_config)"?\s*:?\s*\{|"\w+_enable"')


@cache
def blocks(manual: str) -> dict[int, str]:
    """The fenced blocks of a manual by the line of their opening fence."""
    found: dict[int, str] = {}
    opening = 0
    lines = (SEEDS / manual).read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip().startswith("```"):
            continue
        if opening:
            found[opening] = "".join(f"{text}\n" for text in lines[opening : number - 1])
        opening = 0 if opening else number
    return found


def sample(line: int) -> SourceFile:
    text = blocks(GUIDE)[line]
    return SourceFile("config.json" if text.lstrip().startswith("{") else "quant.cfg", text)


def mended(line: int, slip: str, mend: str) -> Policy:
    source = sample(line)
    assert source.text.count(slip) == 1
    return Policy.from_text(SourceFile(source.name, source.text.replace(slip, mend)))


def only_mistake(line: int) -> Diagnostic:
    with pytest.raises(DiagnosticError) as caught:
        Policy.from_text(sample(line))
    (found,) = caught.value.diagnostics
    return found


def settings(resolved: ResolvedPolicy, layer: str) -> tuple[ActivationSettings, ArqSettings | SnqSettings | None]:
    """What a layer with one data input gets."""
    config = resolved.layers[layer]
    assert config.quant_enable.value
    (data,) = config.input_settings
    return data, config.weight_settings


def test_no_sample_is_missed() -> None:
    manuals = sorted(path.name for path in SEEDS.glob("*.md"))
    found = [(name, line) for name in manuals for line, text in blocks(name).items() if _LIKE_A_POLICY.search(text)]
    # The guides of QAT parameters, of the balancer, of the KV cache and of the GE call have none.
    assert found == [(GUIDE, line) for line in SAMPLES]
    assert [line for line in SAMPLES if is_json(sample(line))] == [
        UNIFORM, NON_UNIFORM, TRAINING, CLIPPED, CREATED, CREATED_TRAINING
    ]  # fmt: skip


# Simple configurations.


def test_the_sample_of_the_batchnorm_renewal() -> None:
    policy = Policy.from_text(sample(BN_UPDATE))
    assert policy.flavour.name == "caffe"
    assert policy.update_bn == Said(True)
    assert policy.bn_update_config is not None
    assert policy.bn_update_config.bn_update_iterations == Said(30)
    assert policy.bn_update_config.bn_moving_average_fraction == Said(0.5)
    assert policy.bn_update_config.bn_dump_dir == Said("tmp/bn_data")
    resolved = resolve(policy, small_graph())
    assert resolved.bn_update == RENEWAL
    assert resolved.warnings == ()


def test_the_sample_of_a_common_config() -> None:
    resolved = resolve(Policy.from_text(sample(COMMON)), small_graph())
    snq = SnqSettings(channel_wise=True, max_iteration=1000, min_distance=1e-10, init_algo="gaussian")
    assert settings(resolved, "conv1") == (IfmrSettings(), snq)
    assert settings(resolved, "pool1") == (IfmrSettings(), None)
    # Alone it clusters the first and the last layer, and a BatchNorm layer is behind the first.
    assert [found.code for found in resolved.warnings] == ["AM272", "AM275"]
    assert not_yet_available(resolved) == []


def test_the_sample_of_overrides() -> None:
    resolved = resolve(Policy.from_text(sample(OVERRIDES)), small_graph())
    first = IfmrSettings(search_range=(0.8, 1.2), search_step=0.02)
    assert settings(resolved, "conv1") == (first, ArqSettings(channel_wise=True))
    assert settings(resolved, "fc") == (IfmrSettings(), ArqSettings(channel_wise=False))
    assert settings(resolved, "conv2") == (IfmrSettings(), ArqSettings(channel_wise=True))


def test_the_sample_of_a_whole_configuration() -> None:
    resolved = resolve(Policy.from_text(sample(WHOLE)), small_graph())
    assert resolved.do_fusion and resolved.update_bn
    assert resolved.skip_fusion_layers == {"conv1"}
    skipped = {name: config.quant_enable.rule.kind for name, config in resolved.layers.items()}
    assert (skipped["pool1"], skipped["prob"]) == ("skip_layers", "skip_layer_types")
    assert not resolved.layers["pool1"].quant_enable.value
    assert not resolved.layers["prob"].quant_enable.value
    first = IfmrSettings(search_range=(0.8, 1.2), search_step=0.02)
    assert settings(resolved, "conv1") == (first, ArqSettings(channel_wise=True))
    assert settings(resolved, "conv2") == (IfmrSettings(), SnqSettings(True, init_algo="gaussian"))
    assert settings(resolved, "fc") == (IfmrSettings(), ArqSettings(channel_wise=False))
    assert resolved.is_nonuniform and resolved.bn_update == RENEWAL
    assert not_yet_available(resolved) == []
    assert resolved.warnings == ()


# Layer configs of post-training quantization.


@pytest.mark.parametrize("line", [UNIFORM, CREATED])
def test_the_samples_of_uniform_layer_configs(line: int) -> None:
    policy = Policy.from_text(sample(line))
    assert policy.flavour.name == "caffe"
    assert (policy.batch_num, policy.activation_offset, policy.do_fusion) == (Said(2), Said(True), Said(True))
    assert policy.joint_quant == (Said(False) if line == CREATED else None)
    resolved = resolve(policy, small_graph())
    assert resolved.batch_num == 2
    assert settings(resolved, "conv1") == (IfmrSettings(), ArqSettings(channel_wise=True))
    assert settings(resolved, "conv2") == (IfmrSettings(), ArqSettings(channel_wise=False))
    assert not resolved.layers["fc"].quant_enable.value  # it has no entry


def test_the_sample_of_a_non_uniform_layer_config_has_a_brace_too_many() -> None:
    found = only_mistake(NON_UNIFORM)
    assert places((found,)) == [("AM101", 2, 5)]
    assert "a key in double quotes" in found.message


def test_the_sample_of_a_non_uniform_layer_config_works_once_mended() -> None:
    policy = mended(NON_UNIFORM, "    {\n    {\n", "    {\n")
    assert policy.update_bn == Said(True)
    graph = Graph("resnet")
    value = graph.add("data", "caffe.Input").output
    value = graph.add("conv1", "caffe.Convolution", [value]).output
    graph.outputs = [graph.add("res2a_branch1", "caffe.Convolution", [value]).output]
    resolved = resolve(policy, graph)
    snq = SnqSettings(channel_wise=True, max_iteration=1000, min_distance=1e-10, init_algo="gaussian")
    assert settings(resolved, "res2a_branch1") == (IfmrSettings(), snq)
    assert resolved.skip_fusion_layers == {"conv1"}
    assert resolved.is_nonuniform and resolved.bn_update == RENEWAL
    assert not_yet_available(resolved) == []
    # The graph of this test ends with the layer, and has no BatchNorm.
    assert [found.code for found in resolved.warnings] == ["AM272", "AM273"]


# Layer configs of quantization-aware training.


@pytest.mark.parametrize("line", [TRAINING, CREATED_TRAINING])
def test_the_samples_of_training_have_a_comma_too_many(line: int) -> None:
    found = only_mistake(line)
    assert places((found,)) == [("AM101", 38, 7)]
    assert (found.message, found.help) == ("a comma before `}`", "take the last comma out")


@pytest.mark.parametrize("line", [TRAINING, CREATED_TRAINING])
def test_the_samples_of_training_work_once_mended(line: int) -> None:
    policy = mended(line, "}, \n }\n", "} \n }\n")
    assert policy.flavour.name == "caffe-qat"
    assert policy.training is not None and policy.training.layers is not None
    assert [layer.name.value for layer in policy.training.layers] == ["conv1", "conv2_1/expand", "conv2_1/dwise"]
    for layer in policy.training.layers:
        assert layer.retrain_enable == Said(True)
        assert layer.config.data == TrainingDataRule(Said("ulq_quantize"), num_bits=Said(8))
        assert layer.config.weights == TrainingWeightRule(Said("arq_retrain"), Said(True), Said(8))


def test_the_sample_of_a_fixed_clip_range() -> None:
    policy = Policy.from_text(sample(CLIPPED))
    assert policy.flavour.name == "caffe-qat"
    assert policy.training is not None and policy.training.layers is not None
    for layer in policy.training.layers:
        data = layer.config.data
        assert data is not None
        assert (data.clip_max, data.clip_min, data.num_bits) == (Said(3.0), Said(-3.0), Said(8))
