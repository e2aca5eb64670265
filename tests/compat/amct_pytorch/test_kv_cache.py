"""AMCT's functions for KV-cache calibration: its recorded runs, what it refuses, and the op that users build in."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import amctc
from amctc.compat import amct_pytorch as amct
from amctc.compat.amct_pytorch.nn.module.quantization.quant_calibration_op import QuantCalibrationOp
from amctc.frontends.torch.export import export_module
from amctc.records.kv_cache import KvCacheRecord
from amctc.records.read_record import read_record
from tests.kv_cache_nets import CASES, PROJECTIONS, RECORDED, arrays, made_up, same_record
from tests.shared_files import GOLDEN, ROOT, needs_golden


class Attention(nn.Module):
    """The network of the recorded runs."""

    def __init__(self, found: dict[str, Any]) -> None:
        super().__init__()
        width = found["q_proj.weight"].shape[0]
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width) for _ in PROJECTIONS)
        self.load_state_dict({name: torch.tensor(found[name]) for name in self.state_dict()})
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        weights = torch.softmax(q @ k.transpose(1, 2) * x.shape[-1] ** -0.5, -1)
        out: torch.Tensor = self.o_proj(weights @ v)
        return out


@needs_golden
@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_config_outputs_and_record_are_those_of_amct(case: str) -> None:
    found, info = arrays(case), json.loads((RECORDED / case / "info.json").read_text())
    cfg, model = RECORDED / case / "quant.cfg", Attention(found)
    amct.create_quant_cali_config("config.json", model, info["quant_layers"], str(cfg) if cfg.exists() else None)
    assert Path("config.json").read_bytes() == (RECORDED / case / "config.json").read_bytes()
    made = amct.create_quant_cali_model("config.json", "record.txt", model)
    for batch in range(info["batches"]):
        assert Path("record.txt").read_text() == ""
        output = made(torch.tensor(found["x"][batch]))
        torch.testing.assert_close(output, torch.tensor(found["cali_model_out"][batch]), rtol=1e-5, atol=1e-6)
    assert list(same_record(Path("record.txt").read_text(), (RECORDED / case / "record.txt").read_text())) == []


@cache
def exported() -> bytes:
    """The ONNX model of the network with made-up weights."""
    found = made_up()
    model: bytes = export_module(Attention(found), (torch.tensor(found["x"][0]),)).SerializeToString()
    return model


@torch.no_grad()
@pytest.mark.parametrize("how", ["ifmr_quantize", "hfmg_quantize"])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_the_exported_model_and_the_policy_give_the_same_record(how: str, granularity: str) -> None:
    found = made_up()
    model, policy = Attention(found), Path("kv.cfg")
    algorithm = f"{how} {{ quant_granularity: {granularity} }}"
    policy.write_text(
        'batch_num: 3 kv_cache_quant_config { quant_layers: ["k_proj", "v_proj"] '
        f"calibration_config {{ {algorithm} }} }}"
    )
    amct.create_quant_cali_config("config.json", model, config_defination=str(policy))
    made = amct.create_quant_cali_model("config.json", "record.txt", model)
    for x in found["x"]:
        made(torch.tensor(x))
    Path("net.onnx").write_bytes(exported())
    result = amctc.compile("net.onnx", policy=policy, data=list(found["x"].reshape(-1, 9, 16)), output="net")
    assert list(same_record(result.files[0].read_text(), Path("record.txt").read_text())) == []


def refused_runs() -> list[dict[str, Any]]:
    path = GOLDEN / "amct_pytorch" / "rejects.json"
    return [run for run in json.loads(path.read_text()) if run["flow"] == "kv"] if path.exists() else []


BETTER = {
    "reject_kv_method": (ValueError, "has the key `foo`, which there is not", '{"kv_cache_quant_layers": ["k_proj"'),
    "reject_kv_none": (TypeError, "`quant_layers` is None, and there is no `config_defination` either", "write `{"),
    "reject_kv_unknown": (ValueError, "the model has no layer `nope`", "`q_proj`, `k_proj`, `v_proj`, `o_proj`"),
}
"""The kind of the exception, what it says, and what it says is to be done."""


@needs_golden
@pytest.mark.parametrize("run", refused_runs(), ids=lambda run: str(run["case"]))
def test_what_amct_refuses_is_refused_with_a_better_message(run: dict[str, Any]) -> None:
    kind, words, help = BETTER[run["case"]]
    with pytest.raises(kind) as caught:
        amct.create_quant_cali_config("config.json", Attention(made_up()), run["quant_layers"])
    first, *more = str(caught.value).splitlines()
    assert words in first and first not in run["error"]
    assert help in "\n".join(more)
    assert not Path("config.json").exists()


@pytest.mark.parametrize(
    ("layers", "kind", "words"),
    [
        (["k_proj"], TypeError, "of type `list`, but must be a dict"),
        ({}, ValueError, "names no layer"),
        ({"kv_cache_quant_layer": ["k_proj"]}, ValueError, "did you mean `kv_cache_quant_layers`?"),
        ({"kv_cache_quant_layers": "k_proj"}, TypeError, "a list of layer names"),
        ({"kv_cache_quant_layers": ["k_proj", "k_proj"]}, ValueError, "`k_proj` is in `quant_layers` twice"),
        ({"kv_cache_quant_layers": ["relu"]}, ValueError, "layer `relu` is of type ReLU"),
    ],
)
def test_other_wrong_arguments_are_told(layers: Any, kind: type[Exception], words: str) -> None:
    model = Attention(made_up())
    model.relu = nn.ReLU()
    with pytest.raises(kind) as caught:
        amct.create_quant_cali_config("config.json", model, layers)
    assert words in str(caught.value)


def test_what_is_no_module_and_what_is_no_config_is_told() -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        amct.create_quant_cali_config("config.json", "model.pt", {"kv_cache_quant_layers": ["k_proj"]})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        amct.create_quant_cali_model("absent.json", "record.txt", Attention(made_up()))
    Path("config.json").write_text('{"k_proj": {"kv_data_quant_config": {"num_bits": 4}}}')
    with pytest.raises(ValueError, match="AM200"):
        amct.create_quant_cali_model("config.json", "record.txt", Attention(made_up()))
    assert not Path("record.txt").exists()


@torch.no_grad()
def test_errors_inside_the_users_call_are_of_the_originals_kinds() -> None:
    model = Attention(made_up())
    amct.create_quant_cali_config("config.json", model, {"kv_cache_quant_layers": ["v_proj"]})
    made = amct.create_quant_cali_model("config.json", "record.txt", model)
    with pytest.raises(RuntimeError, match=r"`v_proj` holds NaN or Inf \[AM404\]"):
        made(torch.full((4, 9, 16), torch.inf))


@torch.no_grad()
def test_the_op_hands_on_what_it_is_given_and_adds_to_the_record() -> None:
    found = made_up()
    x = torch.tensor(found["x"][0])
    amct.create_quant_cali_config("config.json", Attention(found), {"kv_cache_quant_layers": ["v_proj"]})
    amct.create_quant_cali_model("config.json", "record.txt", Attention(found))(x)
    op = QuantCalibrationOp("record.txt", {"act_algo": "hfmg", "num_bits": 8, "quant_granularity": "1", "batch_num": 2})
    assert op("a", x) is x
    assert [layer.name for layer in read_record("record.txt").layers] == ["v_proj"]
    op("b", x)
    op("a", x)
    with pytest.raises(ValueError, match="`b` has 3 channels after 16"):
        op("b", x[..., :3])
    op("a", 100 * x)
    layers = {layer.name: layer.kv_cache for layer in read_record("record.txt").layers}
    assert list(layers) == ["v_proj", "a"]
    assert layers["a"] is not None and len(layers["a"].scale) == 16


@torch.no_grad()
def test_the_op_gives_what_the_wrapped_layer_gives(caplog: pytest.LogCaptureFixture) -> None:
    found = made_up()
    model, x = Attention(found), torch.tensor(found["x"][0])
    amct.create_quant_cali_config("config.json", model, {"kv_cache_quant_layers": ["k_proj"]})
    amct.create_quant_cali_model("config.json", "record.txt", model)(x)
    amct.QuantCalibrationOp("op.txt")("k_proj", model.k_proj(x))
    assert Path("op.txt").read_text() == Path("record.txt").read_text()
    amct.QuantCalibrationOp("op.txt", {"with_offset": False})("k_proj", model.k_proj(x))
    (entry,) = read_record("op.txt").layers
    assert isinstance(entry.kv_cache, KvCacheRecord) and entry.kv_cache.offset == (0,)
    assert "the scale and offset of layer k_proj in op.txt are written over" in caplog.text


def test_asymmetric_of_the_op_is_stronger_than_with_offset() -> None:
    op = QuantCalibrationOp("record.txt", {"with_offset": True, "asymmetric": False, "search_range": (0.8, 1.2)})
    op("k", torch.randn(4, 4))
    (entry,) = read_record("record.txt").layers
    assert entry.kv_cache is not None and entry.kv_cache.offset == (0,)


@pytest.mark.parametrize(
    ("params", "kind", "words"),
    [
        ("hfmg", TypeError, "must be a dict"),
        ({"num_bits": 4}, ValueError, "a cache has 8 bits"),
        ({"act_algo": "kl"}, ValueError, "AM203"),
        ({"search_step": 0.0}, ValueError, "AM21"),
        ({"batch_num": 0}, ValueError, "AM210"),
        ({"search_range": object()}, ValueError, "is not plain data"),
        ({"max_percentiles": 0.9}, ValueError, "did you mean `max_percentile`?"),
    ],
)
def test_wrong_parameters_of_the_op_are_told(params: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        QuantCalibrationOp("record.txt", params)
    assert words in str(caught.value)


def test_wrong_arguments_of_the_op_are_told() -> None:
    with pytest.raises(ValueError, match="kv_cache_quant"):
        QuantCalibrationOp("record.txt", None, "weights")
    with pytest.raises(TypeError, match="`layer_name`"):
        QuantCalibrationOp("record.txt")(torch.zeros(2), "k")


SCRIPT = """
import torch
import amct_pytorch as amct
from amct_pytorch.nn.module.quantization.quant_calibration_op import QuantCalibrationOp

model = torch.nn.Sequential(torch.nn.Linear(4, 4))
amct.create_quant_cali_config("config.json", model, {"kv_cache_quant_layers": ["0"]})
amct.create_quant_cali_model("config.json", "record.txt", model)(torch.ones(2, 4))
QuantCalibrationOp("record.txt")("1", torch.ones(2, 4))
print(open("record.txt").read().count("kv_cache_value"))
"""


def test_a_script_for_amct_runs() -> None:
    Path("script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "amctc.compat", "script.py"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout == "2\n"
