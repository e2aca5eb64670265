"""KV-cache calibration by the pass: the records of the real AMCT, every form of a Linear layer, and what is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import amctc
from amctc import driver
from amctc.diagnostics import DiagnosticError
from amctc.driver import CompileResult
from amctc.driver.kv_cache import kv_record
from amctc.pipeline.context import Calibration, Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.quant.ifmr import IfmrSettings, search
from amctc.records.read_record import read_record
from amctc.registry import builtin_registry
from amctc.source import SourceFile
from tests.ge_graphs import GeNet
from tests.kv_cache_nets import CASES, RECORDED, arrays, attention, made_up, policy_of, same_record
from tests.nets import data, layer, make_net
from tests.onnx_nets import make_model, normal
from tests.shared_files import needs_golden


def cache_policy(*names: str, algorithm: str = "ifmr_quantize { }", batch_num: int = 1) -> Policy:
    layers = json.dumps(list(names))
    text = f"kv_cache_quant_config {{ quant_layers: {layers} calibration_config {{ {algorithm} }} }}"
    return Policy.from_text(SourceFile("kv.cfg", f"batch_num: {batch_num} {text}"))


def compiled(model: Any, folder: Path, policy: Any, feeds: Mapping[str, Any], **more: Any) -> CompileResult:
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return amctc.compile(path, policy=policy, data=dict(feeds), output=folder / "net", **more)


@needs_golden
@pytest.mark.parametrize("case", CASES)
def test_the_record_is_that_of_amct(case: str, tmp_path: Path) -> None:
    found = arrays(case)
    x = found["x"].reshape(-1, *found["x"].shape[2:])
    result = compiled(attention(found), tmp_path, policy_of(case, tmp_path), {"x": x})
    assert [path.name for path in result.files] == ["net_kv_cache_record.txt", "net_kv_cache.json"]
    mine = result.files[0].read_text()
    assert list(same_record(mine, (RECORDED / case / "record.txt").read_text())) == []


@needs_golden
@pytest.mark.parametrize("case", CASES)
def test_the_config_is_that_of_amct_key_by_key(case: str, tmp_path: Path) -> None:
    path, made = tmp_path / "net.onnx", tmp_path / "config.json"
    path.write_bytes(attention(arrays(case)).SerializeToString())
    driver.write_config(path, policy=policy_of(case, tmp_path), output=made)
    assert made.read_text() == (RECORDED / case / "config.json").read_text() + "\n"
    driver.write_config(path, policy=made, output=tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == made.read_text()


def scale_of(array: NDArray[np.float32]) -> tuple[float, int]:
    found = search(array, IfmrSettings())
    return float(found.scale), found.offset


FORMS = {
    "Gemm": "y = Gemm<transB = 1>(x, w, b)",
    "MatMul": "y = MatMul(x, wt)",
    "MatMul and Add": "m = MatMul(x, wt)  y = Add(m, b)",
    "Add and MatMul": "m = MatMul(x, wt)  y = Add(b, m)",
    "MatMul and one number": "m = MatMul(x, wt)  y = Add(m, one)",
    "MatMul and a row": "m = MatMul(x, wt)  y = Add(m, row)",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_output_of_every_form_of_a_linear_layer_is_seen_with_its_bias(form: str, tmp_path: Path) -> None:
    w, b, x = normal((4, 6)), normal((4,), 1) + 3, normal((5, 6), 2)
    constants = {"w": w, "wt": np.ascontiguousarray(w.T), "b": b, "one": b[:1], "row": b.reshape(1, 4)}
    used = {name: array for name, array in constants.items() if f"{name})" in FORMS[form] or f" {name}," in FORMS[form]}
    used |= {"b": b} if "(b," in FORMS[form] else {}
    model = make_model("(float[5, 6] x) => (float[5, 4] y)", FORMS[form], used)
    model.graph.node[0].name = "k"
    bias = b[:1] if "one" in form else 0 if form == "MatMul" else b
    result = compiled(model, tmp_path, cache_policy("k"), {"x": x})
    ((grid,),) = result.kv_cache.values()
    assert (float(grid.scale), grid.offset) == pytest.approx(scale_of((x @ w.T + bias).astype(np.float32)), rel=1e-6)


@pytest.mark.parametrize(
    "body",
    [
        "m = MatMul(x, w)  y = Add(m, row)  z = Relu(m)",
        "m = MatMul(x, w)  y = Mul(m, row)",
        "m = MatMul(x, w)  y = Add(m, square)",
    ],
)
def test_what_is_no_bias_behind_a_matmul_does_not_count(body: str, tmp_path: Path) -> None:
    w, x = normal((6, 4)), normal((4, 6), 2)
    arrays = {"w": w, "row": normal((4,), 3), "square": normal((4, 4), 4)}
    used = {name: array for name, array in arrays.items() if name in body}
    outputs = "(float[4, 4] y, float[4, 4] z)" if "z =" in body else "(float[4, 4] y)"
    model = make_model(f"(float[4, 6] x) => {outputs}", body, used)
    model.graph.node[0].name = "k"
    result = compiled(model, tmp_path, cache_policy("k"), {"x": x})
    ((grid,),) = result.kv_cache.values()
    assert float(grid.scale) == pytest.approx(scale_of(x @ w)[0], rel=1e-6)


def test_an_inner_product_of_caffe_gives_what_the_same_gemm_gives(tmp_path: Path) -> None:
    net = data("5 6") + layer("k", "InnerProduct", "data", "k", "inner_product_param { num_output: 4 }")
    graph = make_net(tmp_path, net)
    x = normal((10, 6), 2)
    w, b = graph.node("k").weights["weight"], graph.node("k").weights["bias"]
    gemm = make_model("(float[5, 6] x) => (float[5, 4] y)", "y = Gemm<transB = 1>(x, w, b)", {"w": w, "b": b})
    gemm.graph.node[0].name = "k"
    policy = cache_policy("k", algorithm="hfmg_quantize { quant_granularity: per_channel }", batch_num=2)
    theirs = compiled(gemm, tmp_path, policy, {"x": x}).kv_cache
    batches = [{"data": x[:5]}, {"data": x[5:]}]
    context = Context(resolve(policy, graph), Calibration(lambda: iter(batches), 2))
    parse_pipeline(SourceFile("pipeline", "insert-kv-cache-quant"), builtin_registry()).run(graph, context)
    assert len(context.kv_cache["k"]) == 4
    for mine, other in zip(context.kv_cache["k"], theirs["k"], strict=True):
        assert (float(mine.scale), mine.offset) == pytest.approx((float(other.scale), other.offset), rel=1e-6)


def test_a_product_of_ge_is_seen_too() -> None:
    build = GeNet()
    graph = build.finish(build.matmul(build.data(5, 6), 4))
    (name,) = (node.name for node in graph.nodes if node.type == "MatMulV2")
    x, policy = normal((5, 6), 2), cache_policy(name)
    context = Context(resolve(policy, graph), Calibration(lambda: iter([{"data": x}]), 1))
    parse_pipeline(SourceFile("pipeline", "insert-kv-cache-quant"), builtin_registry()).run(graph, context)
    output = amctc.run(graph, {"data": x})
    ((grid,),) = context.kv_cache.values()
    assert (float(grid.scale), grid.offset) == pytest.approx(scale_of(output[graph.outputs[0].blob]), rel=1e-6)


def test_the_report_says_of_each_output_what_was_chosen_and_why(tmp_path: Path) -> None:
    found = made_up()
    policy = cache_policy("v_proj", algorithm="ifmr_quantize { quant_granularity: per_channel }")
    result = compiled(attention(found), tmp_path, policy, {"x": found["x"][0]})
    record, report = result.files
    (told,) = json.loads(report.read_text())["layers"]
    assert (told["name"], told["type"], told["value"], told["granularity"]) == (
        "v_proj", "MatMul", "v_proj_y", "per_channel",
    )  # fmt: skip
    (entry,) = read_record(record).layers
    assert entry.kv_cache is not None
    assert [grid["scale"] for grid in told["grids"]] == list(entry.kv_cache.scale)
    v = found["x"][0] @ found["v_proj.weight"].T + found["v_proj.bias"]
    params = entry.kv_cache.params
    error = (params.dequantize(params.quantize(v, axis=-1), axis=-1) - v) ** 2
    measured = [grid["mean_squared_error"] for grid in told["grids"]]
    # The search rounds without the offset, as AMCT does, so that single errors differ.
    np.testing.assert_allclose(measured, error.reshape(-1, 16).mean(axis=0), rtol=0.5)


def test_a_grid_for_each_channel_is_better_than_one(tmp_path: Path) -> None:
    found = made_up()
    found["k_proj.weight"][::2] *= 8  # channels of unlike ranges
    found["k_proj.bias"][::2] *= 8
    k = found["x"][0] @ found["k_proj.weight"].T + found["k_proj.bias"]
    errors: list[float] = []
    for granularity in ("per_tensor", "per_channel"):
        policy = cache_policy("k_proj", algorithm=f"ifmr_quantize {{ quant_granularity: {granularity} }}")
        result = compiled(attention(found), tmp_path, policy, {"x": found["x"][0]})
        (entry,) = read_record(result.files[0]).layers
        assert entry.kv_cache is not None
        params = entry.kv_cache.params
        errors.append(float(((params.dequantize(params.quantize(k, axis=-1), axis=-1) - k) ** 2).mean()))
    assert errors[1] < errors[0] / 1.5


def test_a_target_and_bad_data_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    found = made_up()
    for more, code in (({"target": "onnx"}, "AM287"), ({"batch_size": 5}, "AM403")):
        with pytest.raises(DiagnosticError, match=code):
            compiled(attention(found), tmp_path, cache_policy("k_proj"), {"x": found["x"][0]}, **more)
    with pytest.raises(DiagnosticError, match="AM404"):
        compiled(attention(found), tmp_path, cache_policy("k_proj"), {"x": found["x"][0] * np.float32(np.inf)})
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


def test_workers_leave_channels_to_this_process(tmp_path: Path) -> None:
    found = made_up()
    policy = cache_policy("k_proj", algorithm="ifmr_quantize { quant_granularity: per_channel }")
    feeds = {"x": found["x"][0]}
    alone = compiled(attention(found), tmp_path, policy, feeds)
    result = compiled(attention(found), tmp_path, policy, feeds, checkpoint=tmp_path / "state")
    assert [warning.code for warning in result.warnings] == ["AM472"]
    assert kv_record(result.kv_cache) == kv_record(alone.kv_cache)


def test_one_grid_can_be_calibrated_from_a_checkpoint(tmp_path: Path) -> None:
    found = made_up()
    feeds = tmp_path / "x.npz"
    np.savez(feeds, x=found["x"][0])
    alone = compiled(attention(found), tmp_path, cache_policy("k_proj"), {"x": found["x"][0]})
    path = tmp_path / "net.onnx"
    policy, state = cache_policy("k_proj"), tmp_path / "state"
    result = amctc.compile(path, policy=policy, data=feeds, output=tmp_path / "net", checkpoint=state)
    assert result.warnings == ()
    assert kv_record(result.kv_cache) == kv_record(alone.kv_cache)
