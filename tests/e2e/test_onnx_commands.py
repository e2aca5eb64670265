"""The commands on an ONNX model, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import amctc
from amctc.registry import PASSES
from amctc.runtime.metrics import sqnr_db
from tests.e2e.command import amctc as command
from tests.e2e.command import succeed
from tests.onnx_nets import make_model, normal, run_model

BODY = """
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    n = BatchNormalization (c, scale, shift, mean, variance)
    r = Relu (n)
    d = Conv (r, v)
    e = Add (d, bias)
    g = GlobalAveragePool (e)
    y = Flatten (g)
"""
POLICY = """batch_num: 2
override_layer_types { layer_type: "Conv2d" calibration_config { arq_quantize { channel_wise: true } } }
"""


def weights() -> dict[str, NDArray[np.float32]]:
    """Channels of very different size: one scale for all of them would not do."""
    sizes = np.geomspace(0.01, 4, 8, dtype=np.float32)
    return {
        "w": normal((8, 3, 3, 3), 1) * sizes[:, np.newaxis, np.newaxis, np.newaxis],
        "scale": normal((8,), 2) + 3,
        "shift": normal((8,), 3),
        "mean": normal((8,), 4),
        "variance": sizes,
        "v": normal((4, 8, 1, 1), 5) / np.sqrt(sizes)[:, np.newaxis, np.newaxis],
        "bias": normal((1, 4, 1, 1), 6),
    }


@pytest.fixture
def broken() -> Iterator[Path]:
    """A plug-in whose pass breaks; what it registers is forgotten after the test."""
    passes = set(PASSES.rows)
    path = Path("broken.py")
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nimport amctc\n\n\n"
        "@amctc.register_pass\n@dataclass(frozen=True)\nclass Broken(amctc.Pass):\n"
        '    """Breaks."""\n\n    name: ClassVar[str] = "broken"\n\n'
        '    def run(self, graph, context):\n        raise RuntimeError("oh")\n'
    )
    yield path
    for name in set(PASSES.rows) - passes:
        PASSES.registration(name).remove()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `net.onnx`, whose batch, height and width are open, `policy.cfg` and `data.npz`."""
    model = make_model("(float[N, 3, H, W] x) => (float[N, 4] y)", BODY, weights())
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "policy.cfg").write_text(POLICY)
    np.savez(tmp_path / "data.npz", x=normal((8, 3, 10, 12)), label=np.arange(8) % 4)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compiled(prefix: str, policy: str = "policy.cfg") -> None:
    succeed("compile", "net.onnx", "-p", policy, "-d", "data.npz", "-o", prefix, "--batch-size", "4")


def without_metadata(path: str) -> bytes:
    """A model without what it tells of itself: the policy's hash is in it."""
    model = onnx.load(path)
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True)


def same_files(left: str, right: str) -> None:
    for form in ("deploy", "fake_quant", "qdq"):
        assert without_metadata(f"{left}_{form}_model.onnx") == without_metadata(f"{right}_{form}_model.onnx"), form
    assert record(left) == record(right)


def record(prefix: str) -> list[str]:
    """The lines of a record but for sizes of data, which only data tell of a model that leaves them open."""
    lines = Path(f"{prefix}_scale_offset_record.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line.split()[0] not in ("channels:", "height:", "width:")]


@pytest.mark.usefixtures("desk")
def test_without_a_target_an_onnx_model_gives_onnx_files() -> None:
    compiled("out/net")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "net_deploy_model.onnx",
        "net_fake_quant_model.onnx",
        "net_qdq_model.onnx",
        "net_quant.json",
        "net_scale_offset_record.txt",
    ]


@pytest.mark.usefixtures("desk")
def test_the_written_config_gives_the_same_files() -> None:
    succeed("config", "net.onnx", "-p", "policy.cfg", "-o", "config.json")
    compiled("a/net")
    compiled("b/net", "config.json")
    same_files("a/net", "b/net")
    assert "ok" in succeed("check", "config.json", "--model", "net.onnx")


@pytest.mark.usefixtures("desk")
def test_the_written_record_gives_the_same_weights_without_data() -> None:
    compiled("a/net")
    succeed("convert", "net.onnx", "--record", "a/net_scale_offset_record.txt", "-o", "b/net")
    same_files("a/net", "b/net")


@pytest.mark.usefixtures("desk")
def test_each_written_file_runs_and_none_is_quantized_again() -> None:
    compiled("out/net")
    with np.load("data.npz") as file:
        x = file["x"][:4]
    before = amctc.run(amctc.load("net.onnx"), {"x": x}, ["y"])["y"]
    for form in ("deploy", "fake_quant", "qdq"):
        model = f"out/net_{form}_model.onnx"
        found = amctc.run(amctc.load(model), {"x": x}, ["y"])["y"]
        assert sqnr_db(before, found) > 30, form
        if form != "deploy":
            assert sqnr_db(run_model(Path(model), {"x": x})["y"], found) > 40, form
        outcome = command("compile", model, "-p", "policy.cfg", "-d", "data.npz", "-o", "again/net")
        assert outcome.status == 1
        assert "AM332" in outcome.stderr
    assert not Path("again").exists()


@pytest.mark.usefixtures("desk")
def test_compare_tells_how_near_the_integer_model_is() -> None:
    compiled("out/net")
    told = json.loads(succeed("compare", "net.onnx", "out/net_qdq_model.onnx", "-d", "data.npz", "--json"))
    rows: dict[str, Any] = {row["name"]: row for row in told["values"]}
    assert "y" in rows
    assert all(row["sqnr_db"] is None or row["sqnr_db"] > 30 for row in rows.values())
    assert rows["y"]["top1_agreement"] >= 0.75


@pytest.mark.usefixtures("desk")
def test_run_writes_every_blob_and_eval_scores() -> None:
    succeed("run", "net.onnx", "-d", "data.npz", "-o", "out.npz", "--blobs", "all", "--batch-size", "3")
    with np.load("out.npz") as file:
        assert {name: file[name].shape for name in ("x", "n", "y")} == {
            "x": (8, 3, 10, 12),
            "n": (8, 8, 10, 12),
            "y": (8, 4),
        }
    scored = json.loads(succeed("eval", "net.onnx", "-d", "data.npz", "--labels", "label", "--json"))
    assert scored["count"] == 8


@pytest.mark.usefixtures("desk")
def test_explain_names_the_rule_of_a_torch_type() -> None:
    assert "policy.cfg:2" in succeed("explain", "net.onnx", "-p", "policy.cfg")
    told = succeed("explain", "net.onnx", "--pass", "fuse-batchnorm")
    assert "folded BatchNormalization" in told and "folded Add" in told


@pytest.mark.usefixtures("desk")
def test_a_pass_that_breaks_on_an_onnx_model_leaves_a_reproducer(broken: Path) -> None:
    arguments = "compile", "net.onnx", "-p", "policy.cfg", "-d", "data.npz", "-o", "out/net", "--batch-size", "4"
    plugin = "--plugin", broken
    outcome = command(*arguments, *plugin, "--pipeline", "fuse-batchnorm,broken,ptq")
    assert outcome.status == 1
    assert "AM527" in outcome.stderr
    (folder,) = Path().glob("amctc-reproducer-*")
    again = command("replay", folder, *plugin)
    assert "RuntimeError: oh" in again.stdout + again.stderr
