"""Quantization in training on PyTorch: the numbers of `amctc.quant`, and the recorded ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from amctc.diagnostics import DiagnosticError
from amctc.dialects.retrain import TrainedWeights
from amctc.dialects.traits import weight_rows
from amctc.ir import Graph, Node
from amctc.ir.node import Shape
from amctc.quant.grid import fake_quantize
from amctc.quant.ifmr import IfmrSettings, search
from amctc.quant.trained_weights import arq_trained, first_scale, reciprocal_gradient, scale_gradient, ulq_trained
from amctc.quant.ulq import Clips, grid_of_clips, ulq_gradients
from amctc.text.plain import Plain
from amctc.training.quantizers import Channels, UlqState, arq_scale, arq_weights, ulq, ulq_weights
from tests.quant.ulq_cases import recorded, same_sum
from tests.shared_files import needs_golden

pytestmark = pytest.mark.torch

Said: TypeAlias = tuple[str, Shape, Mapping[str, Plain]]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def noise(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def number(value: float, device: str = "cpu") -> Tensor:
    return torch.tensor([float(value)], requires_grad=True, device=device)


def leaf(array: NDArray[np.float32], device: str = "cpu") -> Tensor:
    return torch.from_numpy(array.copy()).to(device).requires_grad_()


def send_back(made: Tensor, above: NDArray[np.float32]) -> None:
    """Go backward with this gradient of what was made."""
    made.backward(torch.from_numpy(above).to(made.device))  # type: ignore[no-untyped-call]  # torch gives it no types


def array(tensor: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return found


def gradient_of(tensor: Tensor) -> NDArray[np.float32]:
    assert tensor.grad is not None
    return array(tensor.grad)


def stored(tensor: Tensor) -> float:
    return float(tensor.item())


class TestData:
    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("bits", [8, 12, 16])
    @pytest.mark.parametrize("fixed_min", [False, True])
    @pytest.mark.parametrize("clips", [(1.5, -0.75), (0.9, 0.0), (40.0, -40.0), (1e-3, -2.0)])
    def test_output_and_gradients_are_those_of_the_formulas(
        self, clips: tuple[float, float], fixed_min: bool, bits: int, device: str
    ) -> None:
        x, above = noise(3, 4, 5), noise(3, 4, 5, seed=2)
        high, low = (float(np.float32(clip)) for clip in clips)
        used = Clips(high, 0.0 if fixed_min else low)
        grid = grid_of_clips(used, bits)
        data, ends = leaf(x, device), (number(high, device), number(low, device))
        made = ulq(data, *ends, bits=bits, fixed_min=fixed_min)
        send_back(made, above)
        assert np.array_equal(array(made), fake_quantize(x, grid.scale, grid.offset, bits))
        wanted = ulq_gradients(x, above, used, grid, fixed_min=fixed_min)
        assert np.array_equal(gradient_of(data), wanted.data)
        assert same_sum(float(gradient_of(ends[0])[0]), float(wanted.clip_max), above)
        assert same_sum(float(gradient_of(ends[1])[0]), float(wanted.clip_min), above)

    @needs_golden
    def test_output_and_gradients_are_the_recorded_ones(self) -> None:
        cases, arrays = recorded("ulq_retrain")
        compared = 0
        for case in cases:
            if "error" in case or not case["asymmetric"] or case["clip_max_out"] <= case["clip_min_out"]:
                continue
            if case["clip_min_out"] > 0 or case["fixed_min"]:  # a slip, and a gradient that we have not
                continue
            data, ends = (
                leaf(arrays[f"x.{case['input']}"]),
                (number(case["clip_max_out"]), number(case["clip_min_out"])),
            )
            made = ulq(data, *ends, bits=case["num_bits"], fixed_min=False)
            send_back(made, arrays["gy"])
            assert np.array_equal(array(made), arrays[f"y.{case['tag']}"]), case
            assert np.array_equal(gradient_of(data), arrays[f"gx.{case['tag']}"]), case
            assert same_sum(float(gradient_of(ends[0])[0]), case["grad_clip_max"], arrays["gy"]), case
            assert same_sum(float(gradient_of(ends[1])[0]), case["grad_clip_min"], arrays["gy"]), case
            compared += 1
        assert compared == 66

    def test_clips_that_were_never_set_let_everything_through(self) -> None:
        data, ends = leaf(noise(4)), (number(0.0), number(0.0))
        made = ulq(data, *ends, bits=8, fixed_min=False)
        send_back(made, np.ones(4, np.float32))
        assert torch.equal(made, data) and gradient_of(data).tolist() == [1, 1, 1, 1]
        assert ends[0].grad is None


class TestState:
    def test_the_clips_begin_with_what_ifmr_finds_in_the_first_batches(self) -> None:
        batches = [noise(2, 50, seed=seed) for seed in range(3)]
        clips = number(0.0), number(0.0)
        state = UlqState(batches=2)
        first = state.quantize(leaf(batches[0]), *clips)
        assert [stored(clip) for clip in clips] == [0, 0] and first.grad_fn is not None
        range_of_first = Clips(float(batches[0].max()), float(batches[0].min()))
        grid = grid_of_clips(range_of_first, 8)
        assert np.array_equal(array(first), fake_quantize(batches[0], grid.scale, grid.offset, 8))
        send_back(first, np.ones((2, 50), np.float32))
        assert clips[0].grad is None

        send_back(state.quantize(leaf(batches[1]), *clips), np.ones((2, 50), np.float32))
        found = search(np.concatenate(batches[:2]), IfmrSettings())
        assert [stored(clip) for clip in clips] == [float(np.float32(c)) for c in (found.clip_max, found.clip_min)]
        assert clips[0].grad is not None
        state.quantize(leaf(100 * batches[2]), *clips)
        assert stored(clips[0]) == float(np.float32(found.clip_max))

    def test_clips_that_are_said_have_no_start(self) -> None:
        clips = number(3.0), number(-3.0)
        UlqState(batches=1).quantize(leaf(noise(9)), *clips)
        assert [stored(clip) for clip in clips] == [3, -3]

    def test_a_fixed_minimum_begins_with_what_is_above_zero(self) -> None:
        x = noise(2, 500)
        clips = number(0.0), number(0.0)
        made = UlqState(fixed_min=True).quantize(leaf(x), *clips)
        found = search(np.maximum(x, 0), IfmrSettings())
        assert [stored(clip) for clip in clips] == [float(np.float32(found.clip_max)), 0.0]
        assert array(made).min() == 0

    def test_clips_that_a_step_has_spoilt_are_put_back(self) -> None:
        clips = number(3.0), number(-2.0)
        state = UlqState()
        wanted = state.quantize(leaf(noise(9)), *clips)
        for high, low in ((-1.0, 1.0), (math.nan, -1.0), (-0.5, -2.0)):
            with torch.no_grad():
                clips[0].fill_(high)
                clips[1].fill_(low)
            assert torch.equal(state.quantize(leaf(noise(9)), *clips), wanted)
            assert [stored(clip) for clip in clips] == [3, -2]

    def test_data_that_no_range_can_be_found_for_are_a_mistake(self) -> None:
        for value, code in ((0.0, "AM405"), (math.nan, "AM404")):
            with pytest.raises(DiagnosticError) as refusal:
                UlqState(name="conv").quantize(torch.full((4,), value), number(0.0), number(0.0))
            assert refusal.value.diagnostics[0].code == code


def layer(type: str, shape: Shape, said: Mapping[str, Plain] = MappingProxyType({})) -> Node:
    graph = Graph("net")
    graph.add("data", "caffe.Input", [], ["data"])
    inner = type == "InnerProduct"
    parameter: dict[str, Plain] = {} if inner else {"kernel_size": (2,)}
    attrs: dict[str, Plain] = {"inner_product_param" if inner else "convolution_param": {**parameter, **said}}
    weights = {"weight": np.zeros(shape, np.float32)}
    return graph.add("layer", f"caffe.{type}", [graph.node("data").output], ["layer"], attrs=attrs, weights=weights)


def in_rows(node: Node, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return weight_rows(node, weight).astype(np.float32)


LAYERS = [
    ("Convolution", (6, 4, 2, 2), {}),
    ("Deconvolution", (4, 6, 2, 2), {}),
    ("Deconvolution", (4, 3, 2, 2), {"group": 2}),
    ("InnerProduct", (6, 10), {}),
    ("InnerProduct", (10, 6), {"transpose": True}),
]


class TestWeights:
    @pytest.mark.parametrize("said", LAYERS)
    @pytest.mark.parametrize("channel_wise", [True, False])
    @pytest.mark.parametrize("bits", [4, 8])
    @pytest.mark.parametrize("device", DEVICES)
    def test_both_forms_are_those_of_the_formulas(self, said: Said, channel_wise: bool, bits: int, device: str) -> None:
        node, shape = layer(*said), said[1]
        weight, above = noise(*shape), noise(*shape, seed=2)
        rows, flowing = (in_rows(node, values) for values in (weight, above))
        how = TrainedWeights(channel_wise, bits)

        by_arq = leaf(weight, device)
        made = arq_weights(by_arq, Channels.of(node, by_arq), how)
        send_back(made, above)
        assert np.array_equal(in_rows(node, array(made)), arq_trained(rows, channel_wise=channel_wise, bits=bits))
        assert np.array_equal(gradient_of(by_arq), above)
        first = first_scale(rows, channel_wise=channel_wise, bits=bits)
        assert np.array_equal(array(arq_scale(by_arq, Channels.of(node, by_arq), how)), first)

        scale = np.asarray(first * np.float32(0.8), np.float32)
        for reciprocal in (False, True):
            given = np.reciprocal if reciprocal else np.asarray
            by_scale, learned = leaf(weight, device), leaf(given(scale), device)
            used = given(given(scale))
            made = ulq_weights(by_scale, learned, Channels.of(node, by_scale), bits=bits, reciprocal=reciprocal)
            send_back(made, above)
            assert np.array_equal(in_rows(node, array(made)), ulq_trained(rows, used, bits))
            gradient = scale_gradient(rows, flowing, used, bits)
            gradient = reciprocal_gradient(gradient, used) if reciprocal else gradient
            assert np.array_equal(gradient_of(by_scale), above)
            assert np.allclose(gradient_of(learned), gradient, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())

    @needs_golden
    def test_arq_gives_the_recorded_numbers_at_the_edges_too(self) -> None:
        cases, arrays = recorded("arq_retrain")
        compared = 0
        for case in cases:
            if "error" in case:
                continue
            name, bits, wise = case["weight"], case["num_bits"], case["channel_wise"]
            weight = arrays[f"w.{name}"]
            channels = Channels.of(layer("Convolution", weight.shape), leaf(weight))
            how = TrainedWeights(wise, bits)
            assert np.array_equal(
                array(arq_weights(leaf(weight), channels, how)), arrays[f"q.{name}.b{bits}.cw{int(wise)}"]
            )
            assert (
                array(arq_scale(leaf(weight), channels, how)).tolist() == np.array(case["scale"]).reshape(-1).tolist()
            )
            compared += 1
        assert compared == 16

    @needs_golden
    def test_a_learned_scale_gives_the_recorded_gradients(self) -> None:
        cases, arrays = recorded("ulq_scale_retrain")
        for case in cases:
            weight, tag = leaf(arrays[f"w.{case['weight']}"]), case["tag"]
            learned = leaf(np.array(case["scale"], np.float32).reshape(-1))
            node = layer("Convolution", tuple(weight.shape))
            made = ulq_weights(
                weight, learned, Channels.of(node, weight), bits=case["num_bits"], reciprocal=case["s_rec_flag"]
            )
            send_back(made, arrays[f"gy.{case['weight']}"])
            assert np.array_equal(array(made), arrays[f"q.{tag}"]), tag
            wanted = arrays[f"gs.{tag}"].reshape(-1)
            assert np.allclose(gradient_of(learned), wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max()), tag
            assert np.array_equal(gradient_of(weight), arrays[f"gw.{tag}"]), tag
