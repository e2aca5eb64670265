"""Calibration while a module runs: what counts as a batch, and which layers may read what."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from amctc.diagnostics import DiagnosticError
from amctc.modules.calibration import ModuleCalibration, Observation
from amctc.modules.watching import watch
from amctc.modules.wrapped import Wrapped, is_rewritten, replace_layers
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrResult, IfmrSettings, search


class Two(nn.Module):
    """Two linear layers that read the same, one of them as often as it is told."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.times = 1

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.a(x)
        for _ in range(self.times):
            found = found + self.b(x)
        return found


def settings() -> IfmrSettings:
    return IfmrSettings()


class Watching:
    """A module whose layers are observed, and what the calibration found."""

    def __init__(self, *observations: Observation, batches: int = 1) -> None:
        self.found: list[Mapping[str, IfmrResult]] = []
        self.calibration = ModuleCalibration(observations, batches, self.found.append)
        self.module = Two()
        watch(self.module, {"a": "a", "b": "b"}, self.calibration)


TOGETHER = (Observation(("a", "b"), settings(), "ifmr"),)
APART = (Observation(("a",), settings(), "ifmr"), Observation(("b",), settings(), "ifmr"))


def data(seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32))


@pytest.mark.parametrize("observations", [TOGETHER, APART])
def test_the_scales_are_those_of_all_batches(observations: tuple[Observation, ...]) -> None:
    watching, plain = Watching(*observations, batches=2), Two()
    for seed in (1, 2, 3):
        assert torch.equal(watching.module(data(seed)), plain(data(seed)))
        assert len(watching.found) == (seed >= 2)
    wanted = search(np.concatenate([data(1).numpy().ravel(), data(2).numpy().ravel()]), settings(), "")
    (found,) = watching.found
    assert found.keys() == {"a", "b"}
    for result in found.values():
        assert (result.scale, result.offset) == (wanted.scale, wanted.offset)


def test_hfmg_sees_batch_by_batch() -> None:
    own = HfmgObserver(HfmgSettings(num_of_bins=1024))
    watching = Watching(Observation(("a", "b"), HfmgSettings(num_of_bins=1024), "hfmg"), batches=2)
    for seed in (1, 2):
        watching.module(data(seed))
        own.update(data(seed).numpy())
    assert watching.found[0]["b"].scale == own.finish().scale


def test_halves_are_looked_at_as_they_are() -> None:
    watching = Watching(*TOGETHER)
    watching.module.double()(data().double())
    assert watching.found[0]["a"].scale == search(data().numpy(), settings(), "").scale
    halves = Watching(*TOGETHER)
    halves.module.bfloat16()(data().bfloat16())
    assert halves.found[0]["a"].scale == search(data().bfloat16().float().numpy(), settings(), "").scale


@pytest.mark.parametrize("observations", [TOGETHER, APART])
def test_a_layer_that_runs_twice_in_a_batch_is_named(observations: tuple[Observation, ...]) -> None:
    watching = Watching(*observations)
    watching.module.times = 2
    with pytest.raises(DiagnosticError, match="layer `b` ran twice in one batch") as found:
        watching.module(data())
    assert found.value.diagnostics[0].code == "AM952"


def test_a_layer_that_never_runs_is_named() -> None:
    watching = Watching(*APART, batches=2)
    watching.module.times = 0
    watching.module(data())
    with pytest.raises(DiagnosticError, match="layer `b` did not run in the 2 batches") as found:
        watching.module(data())
    assert found.value.diagnostics[0].code == "AM953"
    assert not watching.found


def test_a_layer_may_be_left_out_of_some_batches() -> None:
    watching = Watching(*APART, batches=2)
    watching.module.times = 0
    watching.module(data(1))
    watching.module.times = 1
    watching.module(data(2))
    (found,) = watching.found
    assert found["b"].scale == search(data(2).numpy(), settings(), "").scale


def test_a_batch_that_breaks_spoils_the_calibration() -> None:
    watching = Watching(*APART)
    with pytest.raises(RuntimeError):
        watching.module(torch.zeros(5, 3))
    with pytest.raises(DiagnosticError, match="batch 1 of the calibration stopped halfway") as found:
        watching.module(data())
    assert found.value.diagnostics[0].code == "AM951"


def test_a_wrapper_shows_what_the_layer_has(tmp_path: Path) -> None:
    module = Watching(*TOGETHER).module
    assert isinstance(module.a, Wrapped)
    assert module.a.in_features == 4
    assert module.a.weight is module.a.sub_module.weight
    assert set(module.state_dict()) == {f"{layer}.sub_module.{name}" for layer in "ab" for name in ("weight", "bias")}
    with pytest.raises(AttributeError):
        _ = module.a.nothing
    assert isinstance(copy.deepcopy(module.a), Wrapped)


def test_a_layer_is_replaced_under_all_its_names() -> None:
    module = Two()
    module.b = module.a
    replace_layers(module, {"a": Wrapped})
    assert module.a is module.b
    assert is_rewritten(module)
    assert not is_rewritten(Two())
