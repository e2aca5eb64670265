"""Outputs of torch modules that are calibrated as they run: nothing else changes, and each is on its own."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from amctc.diagnostics import DiagnosticError
from amctc.modules.kv_cache import OutputObserved, kv_calibrated, kv_module_candidates, structural_copy
from amctc.policy import Policy, ResolvedPolicy
from amctc.policy.resolve_kv import resolve_kv
from amctc.quant.ifmr import IfmrSettings, search
from amctc.records.read_record import read_record
from amctc.source import SourceFile
from tests.pages import blocks
from tests.shared_files import ROOT


class Pair(nn.Module):
    """Two Linear layers, of which the second runs only if asked; and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v, self.twice = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, values: bool = True) -> torch.Tensor:
        y: torch.Tensor = self.k(x) + self.v(x) if values else self.k(x)
        out: torch.Tensor = self.twice(self.twice(y))
        return out


def policy(module: nn.Module, *names: str, batch_num: int = 1, how: str = "ifmr_quantize { }") -> ResolvedPolicy:
    layers = ", ".join(f'"{name}"' for name in names)
    text = f"batch_num: {batch_num} kv_cache_quant_config {{ quant_layers: [{layers}] calibration_config {{ {how} }} }}"
    return resolve_kv(Policy.from_text(SourceFile("kv.cfg", text)), kv_module_candidates(module))


def data(seed: int = 0, rows: int = 5) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def names(record: Path) -> list[str]:
    return [layer.name for layer in read_record(record).layers]


@torch.no_grad()
def test_the_factors_are_in_the_record_exactly_at_the_last_batch(tmp_path: Path) -> None:
    module, record = Pair(), tmp_path / "record.txt"
    model = kv_calibrated(module, policy(module, "k", batch_num=3), record)
    seen: list[torch.Tensor] = []
    for batch in range(3):
        assert names(record) == []
        x = data(batch)
        seen.append(module.k(x))
        torch.testing.assert_close(model(x), module(x), rtol=0, atol=0)
    (entry,) = read_record(record).layers
    found = search(torch.cat(seen).numpy(), IfmrSettings())
    assert entry.kv_cache is not None
    assert (entry.kv_cache.scale, entry.kv_cache.offset) == ((float(found.scale),), (found.offset,))
    text = record.read_text()
    model(100 * data(9))
    assert record.read_text() == text


@torch.no_grad()
def test_each_output_has_a_count_of_its_own(tmp_path: Path) -> None:
    module, record = Pair(), tmp_path / "record.txt"
    model = kv_calibrated(module, policy(module, "k", "v", "twice", batch_num=2), record)
    model(data(0), values=False)
    assert names(record) == ["twice"]  # its second call was its second batch
    model(data(1), values=False)
    assert names(record) == ["twice", "k"]
    model(data(2))
    model(data(3))
    assert names(record) == ["twice", "k", "v"]


def test_the_users_module_stays_as_it_is_and_shares_its_parameters(tmp_path: Path) -> None:
    module = Pair()
    keys = list(module.state_dict())
    model = kv_calibrated(module, policy(module, "k"), tmp_path / "record.txt")
    assert list(module.state_dict()) == keys and isinstance(module.k, nn.Linear)
    made = model.get_submodule("k")
    assert isinstance(made, OutputObserved)
    assert made.weight is module.k.weight
    assert list(dict(model.named_parameters())) == [
        name.replace("k.", "k.sub_module.") if name.startswith("k.") else name for name in keys
    ]


def test_gradients_go_through_an_observed_layer(tmp_path: Path) -> None:
    module = Pair()
    model = kv_calibrated(module, policy(module, "k"), tmp_path / "record.txt")
    model(data()).sum().backward()
    assert module.k.weight.grad is not None and module.k.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_several_models_of_one_module_do_not_know_of_each_other(tmp_path: Path) -> None:
    module = Pair()
    one, other = (
        kv_calibrated(module, policy(module, "k", batch_num=count), tmp_path / f"{count}.txt") for count in (1, 2)
    )
    other(data(0))
    one(data(1))
    other(data(2))
    twice = [read_record(tmp_path / name).layers[0].kv_cache for name in ("1.txt", "2.txt")]
    again = kv_calibrated(module, policy(module, "k", batch_num=2), tmp_path / "again.txt")
    again(data(0))
    again(data(2))
    assert twice[1] == read_record(tmp_path / "again.txt").layers[0].kv_cache != twice[0]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_seen_as_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = Pair().to(dtype)
    how = "hfmg_quantize { num_of_bins: 1024 quant_granularity: per_channel }"
    model = kv_calibrated(module, policy(module, "k", how=how), tmp_path / "record.txt")
    assert model(data().to(dtype)).dtype == dtype
    (entry,) = read_record(tmp_path / "record.txt").layers
    assert entry.kv_cache is not None and len(entry.kv_cache.scale) == 4


@torch.no_grad()
def test_bad_numbers_are_told_with_the_layer(tmp_path: Path) -> None:
    module = Pair()
    model = kv_calibrated(module, policy(module, "k"), tmp_path / "record.txt")
    with pytest.raises(DiagnosticError, match=r"AM404.*`k`"):
        model(torch.full((1, 6), torch.nan))
    with torch.no_grad():
        module.k.weight.zero_()
        assert module.k.bias is not None
        module.k.bias.zero_()
    with pytest.raises(DiagnosticError, match=r"AM405.*`k`"):
        kv_calibrated(module, policy(module, "k"), tmp_path / "record.txt")(data())


class Changing(nn.Linear):
    """Gives something else each time."""

    def forward(self, input: torch.Tensor) -> Any:
        wide = super().forward(input)
        return {5: wide, 4: wide[:, :3], 3: wide.int(), 2: (wide,)}[len(input)]


@torch.no_grad()
@pytest.mark.parametrize(("rows", "words"), [(4, "3 channels after 4"), (3, "torch.int32"), (2, "tuple")])
def test_an_output_that_cannot_be_calibrated_is_told(rows: int, words: str, tmp_path: Path) -> None:
    module = nn.Sequential(Changing(6, 4))
    how = "ifmr_quantize { quant_granularity: per_channel }"
    model = kv_calibrated(module, policy(module, "0", batch_num=2, how=how), tmp_path / "record.txt")
    model(data())
    with pytest.raises(DiagnosticError, match=f"AM288.*{words}"):
        model(data(rows=rows))


def test_a_record_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    module = Pair()
    with pytest.raises(DiagnosticError, match="AM700"):
        kv_calibrated(module, policy(module, "k"), tmp_path)


def test_only_linear_layers_give_keys_and_values() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    with pytest.raises(DiagnosticError) as caught:
        policy(module, "1", "2")
    assert [found.code for found in caught.value.diagnostics] == ["AM285", "AM220"]
    assert caught.value.diagnostics[0].message.startswith("layer `1` is of type ReLU;")


def test_a_copy_has_the_same_tensors_and_other_modules() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    made = structural_copy(module)
    pairs = zip(module.state_dict().values(), made.state_dict().values(), strict=True)
    assert all(mine.data_ptr() == other.data_ptr() for mine, other in pairs)
    assert made[0] is not module[0]  # type: ignore[index]


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = (each for each in blocks(ROOT / "docs" / "kv-cache.md") if each.mark("file") == "calibrate_module.py")
    script = tmp_path / "calibrate_module.py"
    script.write_text(block.text)
    runpy.run_path(str(script))
    assert names(tmp_path / "record.txt") == ["k_proj"]


def test_the_example_shows_what_8_bits_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found: Any = runpy.run_path(str(ROOT / "examples" / "kv_cache_attention.py"))["compare"]()
    floats, tensor, channel = found.values()
    assert tensor.nbytes == channel.nbytes == floats.nbytes / 4
    assert floats.error == 0
    assert 0 < channel.error < tensor.error < 0.005
    assert np.isfinite(channel.error)
