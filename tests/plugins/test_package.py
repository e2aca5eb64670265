"""The package in tests/plugin, installed as anybody would: its pass, target and host op work in every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nets import conv, data, layer, write_net
from tests.shared_files import ROOT

PLUGIN = ROOT / "tests" / "plugin"
PIPELINE = (
    "fuse-batchnorm,clip-to-relu6{threshold=6},annotate-quant,quantize-weights,observe,calibrate,"
    "quantize-bias,insert-quant"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, from a copy: building writes beside the sources."""
    folder = tmp_path_factory.mktemp("plugin")
    source, site = folder / "source", folder / "site"
    shutil.copytree(PLUGIN, source, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def run(site: Path, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "amctc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A folder with a net that has a Clip to 6, one to 5 and a layer that amctc does not know, and its data."""
    clip = "clip_param {{ min: 0 max: {} }}"
    text = (
        data("4 3 8 8")
        + conv("conv", "data", 4)
        + layer("six", "Clip", "conv", "six", clip.format(6))
        + layer("five", "Clip", "six", "five", clip.format(5))
        + layer("sign", "Softsign", "five", "sign")
        + conv("last", "sign", 2)
    )
    known = text.replace('type: "Softsign"', 'type: "TanH"')  # while the weights are made
    write_net(tmp_path, known)
    (tmp_path / "net.prototxt").write_text(f'name: "net"\n{text}', encoding="utf-8")
    (tmp_path / "policy.cfg").write_text("batch_num: 1\n", encoding="utf-8")
    np.savez(tmp_path / "data.npz", data=np.random.default_rng(0).normal(0, 3, (4, 3, 8, 8)).astype(np.float32))
    return tmp_path


def test_the_plug_in_is_short(site: Path) -> None:
    assert len((PLUGIN / "amctc_clip.py").read_text(encoding="utf-8").splitlines()) < 80
    assert (site / "amctc_clip.py").is_file()


def test_an_installed_plug_in_is_listed_with_its_owner(site: Path, tmp_path: Path) -> None:
    listed: Any = json.loads(run(site, tmp_path, "passes", "--json"))
    (row,) = [row for row in listed["passes"] if row["name"] == "clip-to-relu6"]
    assert row["owner"] == "amctc-clip 1.2.0"
    assert row["summary"] == "Replace every Clip from 0 to a fixed value by a ReLU6."
    assert row["pattern"] == "Clip[min=0]"
    assert row["options"][0]["least"] == 0
    targets: Any = json.loads(run(site, tmp_path, "targets", "--json"))
    assert {row["name"]: row["owner"] for row in targets["targets"]} == {
        "caffe": "amctc",
        "ge": "amctc",
        "onnx": "amctc",
        "summary-json": "amctc-clip 1.2.0",
    }
    assert "clip-to-relu6\tthreshold=6.0\tamctc-clip 1.2.0\tReplace" in run(site, tmp_path, "passes")


def test_an_installed_plug_in_takes_part_in_a_compilation(site: Path, net: Path) -> None:
    files = ["net.prototxt", "net.caffemodel", "--policy", "policy.cfg", "--data", "data.npz", "--output", "out/net"]
    run(site, net, "compile", *files, "--pipeline", PIPELINE, "--target", "caffe,summary-json")
    summary: Any = json.loads((net / "out" / "net_summary.json").read_text(encoding="utf-8"))
    assert summary["conv"] == {"type": "Convolution", "data": [8], "weights": 8}
    deploy = (net / "out" / "net_deploy_model.prototxt").read_text(encoding="utf-8")
    assert 'name: "six.relu6"' in deploy and 'name: "six"' not in deploy
    assert 'name: "five"' in deploy, "the pass must leave a Clip to 5 alone"


def test_the_module_alone_is_a_plug_in_too(net: Path) -> None:
    with_file = run(ROOT, net, "passes", "--plugin", str(PLUGIN / "amctc_clip.py"))
    assert "clip-to-relu6" in with_file
    assert "clip-to-relu6" not in run(ROOT, net, "passes")
