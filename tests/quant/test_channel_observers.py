"""Observers of channels: each channel gets what an observer of its values alone finds, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from amctc.diagnostics import DiagnosticError
from amctc.quant.channel_observers import (
    EXACT_LIMIT,
    ChannelHfmgObserver,
    ChannelIfmrObserver,
    channel_observer,
    grids_of,
)
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.quant.ifmr import IfmrResult, IfmrSettings
from amctc.quant.observer import IfmrObserver

Batches = Sequence[NDArray[np.float32]]


def batches(count: int, rows: int, channels: int, seed: int = 0) -> Batches:
    """Of channels with other ranges each; one has positive values alone."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(size=channels)).astype(np.float32)
    made = [(rng.normal(size=(2, rows, channels)) * sizes).astype(np.float32) for _ in range(count)]
    for batch in made:
        batch[..., 0] = np.abs(batch[..., 0])
    return made


def by_channel(settings: IfmrSettings | HfmgSettings, data: Batches) -> list[IfmrResult]:
    """What an observer of each channel alone finds."""
    found: list[IfmrResult] = []
    for channel in range(data[0].shape[-1]):
        one = HfmgObserver(settings) if isinstance(settings, HfmgSettings) else IfmrObserver(settings)
        for batch in data:
            one.update(batch[..., channel])
        found.append(one.finish())
    return found


def fed(settings: IfmrSettings | HfmgSettings, data: Batches) -> tuple[IfmrResult, ...]:
    observer = channel_observer(settings, "k")
    for batch in data:
        observer.update(batch)
    return grids_of(observer)


@pytest.mark.parametrize("with_offset", [True, False])
@pytest.mark.parametrize("algorithm", [IfmrSettings, HfmgSettings])
def test_a_channel_gets_what_its_values_alone_give(
    algorithm: type[IfmrSettings] | type[HfmgSettings], with_offset: bool
) -> None:
    data = batches(3, 20, 5)
    assert fed(algorithm(with_offset=with_offset), data) == tuple(by_channel(algorithm(with_offset=with_offset), data))


def test_beyond_the_exact_limit_the_scale_is_that_of_all_values_within_a_step() -> None:
    data = batches(5, EXACT_LIMIT // 2, 3)
    for mine, exact in zip(fed(IfmrSettings(), data), by_channel(IfmrSettings(), data), strict=True):
        assert not mine.exact and exact.exact
        assert abs(mine.index - exact.index) <= 1
        assert (mine.init_min, mine.init_max) == (exact.init_min, exact.init_max)


def test_how_values_are_split_does_not_matter_to_ifmr() -> None:
    whole = np.concatenate(batches(4, EXACT_LIMIT // 2, 2)).reshape(-1, 2)
    parts = np.array_split(whole, [7, 1000, 1001, 9000])
    assert fed(IfmrSettings(), parts) == fed(IfmrSettings(), [whole])


@given(st.integers(0, 100), st.integers(1, 30), st.integers(1, 4))
def test_channels_of_hfmg_do_not_know_of_each_other(seed: int, rows: int, count: int) -> None:
    data = batches(count, rows, 3, seed)
    settings = HfmgSettings(num_of_bins=1024)
    together = fed(settings, data)
    assert together[1:2] == fed(settings, [batch[..., 1:2] for batch in data])


def test_memory_does_not_grow_with_the_data() -> None:
    observer = ChannelIfmrObserver()
    hfmg = ChannelHfmgObserver(HfmgSettings(num_of_bins=1024))
    sizes: list[int] = []
    for batch in batches(12, EXACT_LIMIT // 4, 4):
        observer.update(batch)
        hfmg.update(batch)
        sizes.append(observer.nbytes)
        assert hfmg.nbytes == 4 * 1024 * 8
    assert max(sizes) <= 4 * (1 << 16)
    assert observer.nbytes < sum(batch.nbytes for batch in batches(12, EXACT_LIMIT // 4, 4))


@pytest.mark.parametrize("settings", [IfmrSettings(), HfmgSettings(num_of_bins=1024)])
def test_a_dead_channel_has_scale_1_and_a_dead_layer_is_refused(settings: IfmrSettings | HfmgSettings) -> None:
    (data,) = batches(1, 20, 3)
    data[..., 1] = 0
    _, dead, alive = fed(settings, [data])
    assert (float(dead.scale), dead.offset) == (1, -128)
    assert alive.scale < 1
    with pytest.raises(DiagnosticError, match="AM405"):
        fed(settings, [np.zeros_like(data)])


@pytest.mark.parametrize("settings", [IfmrSettings(), HfmgSettings(num_of_bins=1024)])
def test_what_cannot_be_observed_is_told_with_the_layer(settings: IfmrSettings | HfmgSettings) -> None:
    (data,) = batches(1, 4, 3)
    bad = data.copy()
    bad[0, 0, 2] = np.nan
    with pytest.raises(DiagnosticError, match=r"AM404.*`k`"):
        fed(settings, [bad])
    with pytest.raises(DiagnosticError, match=r"AM406.*`k`"):
        fed(settings, [np.zeros((0, 3), np.float32)])
    with pytest.raises(DiagnosticError, match=r"AM410.*channel|AM410.*k\["):
        fed(settings, [data, np.full((1, 3), 1e38, np.float32), np.full((1, 3), -3e38, np.float32)])
    with pytest.raises(ValueError, match="2 channels after 3"):
        fed(settings, [data, data[..., :2]])
    with pytest.raises(ValueError, match="a grid for each"):
        channel_observer(settings, "k").finish()


def test_an_empty_batch_changes_nothing() -> None:
    (data,) = batches(1, 6, 3)
    empty = np.zeros((0, 3), np.float32)
    for settings in (IfmrSettings(), HfmgSettings(num_of_bins=1024)):
        assert fed(settings, [empty, data, empty]) == fed(settings, [data])
