"""A policy of the flavour `pytorch`, with HFMG, on LeNet: compiled, scored, explained, written as JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amctc
from amctc import driver
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.policy import Policy, resolve, to_json
from amctc.quant.hfmg import HfmgObserver, HfmgSettings
from amctc.records.read_record import read_record
from amctc.source import SourceFile
from tests.e2e.command import succeed
from tests.e2e.real_data import BATCH, CALIBRATION, lenet
from tests.e2e.test_real_networks import top1, written
from tests.shared_files import needs_assets

RULES = f"""\
batch_num: {CALIBRATION // BATCH}
common_config {{
  hfmg_quantize {{ num_of_bins: 2048 }}
}}
override_layer_configs {{
  layer_name: "ip2"
  calibration_config {{ hfmg_quantize {{ dst_type: INT16 asymmetric: false }} }}
}}
"""


def policy(text: str, name: str = "bins.cfg") -> Policy:
    return Policy.from_text(SourceFile(name, text))


def compiled(folder: Path, rules: Policy) -> amctc.CompileResult:
    network = lenet(1000)
    return amctc.compile(
        *network.files,
        policy=rules,
        data=network.data,
        preprocess=network.preprocess,
        batch_size=BATCH,
        output=folder / "net",
    )


@needs_assets
def test_lenet_keeps_its_accuracy_with_hfmg(tmp_path: Path) -> None:
    rules = policy(RULES)
    assert rules.flavour.name == "pytorch"
    result = compiled(tmp_path, rules)
    network = lenet(1000)
    before = top1(network, network.files)
    assert before > 98
    for kind in ("deploy", "fake_quant"):
        assert top1(network, written(tmp_path, kind)) >= before - 0.2
    quant = result.graph.node("conv1").quant
    assert quant is not None and quant.inputs[0].settings == HfmgSettings(num_of_bins=2048)
    assert result.graph.node("ip2").inputs[0].dtype == "int16"


@needs_assets
def test_the_first_layer_has_the_grid_that_hfmg_finds_in_its_images(tmp_path: Path) -> None:
    compiled(tmp_path, policy(RULES))
    network = lenet(0)
    dataset = driver.open_dataset(load_model(*network.files), network.data, network.preprocess)
    observer = HfmgObserver(HfmgSettings(num_of_bins=2048))
    for feeds in dataset.batches(BATCH, limit=CALIBRATION // BATCH):
        observer.update(feeds["data"])
    found = observer.finish()
    (layer,) = (
        entry for entry in read_record(tmp_path / "net_scale_offset_record.txt").layers if entry.name == "conv1"
    )
    assert np.float32(layer.inputs[0].scale) == found.scale
    assert layer.inputs[0].offset == found.offset


@needs_assets
def test_the_json_of_the_policy_compiles_to_the_same_files(tmp_path: Path) -> None:
    graph = load_model(*lenet(0).files)
    text = to_json(resolve(policy(RULES), graph))
    assert '"act_algo":"hfmg"' in text and '"num_of_bins":2048' in text
    for folder, rules in (("cfg", policy(RULES)), ("json", policy(text, "bins.json"))):
        (tmp_path / folder).mkdir()
        compiled(tmp_path / folder, rules)
    for ending in ("deploy_model.prototxt", "deploy_weights.caffemodel", "scale_offset_record.txt"):
        one, other = ((tmp_path / folder / f"net_{ending}").read_bytes() for folder in ("cfg", "json"))
        assert one == other, ending


@needs_assets
def test_explain_names_hfmg_and_its_rule(tmp_path: Path) -> None:
    path = tmp_path / "bins.cfg"
    path.write_text(RULES, encoding="utf-8")
    files = lenet(0).files
    rows = {row[0]: row for line in succeed("explain", *files, "-p", path).splitlines() if (row := line.split("\t"))}
    assert rows["conv1"][-2:] == ["hfmg 8", f"common_config ({path}:2)"]
    assert rows["ip2"][-2:] == ["hfmg 16", f"override_layer_configs ({path}:6)"]
    fields = succeed("explain", *files, "-p", path, "--layer", "conv1").splitlines()
    found = {row[2]: row[3:] for line in fields if len(row := line.split("\t")) > 3}
    assert found["activation_quant_params.act_algo"] == ['"hfmg"', f"common_config ({path}:3)"]
    assert found["activation_quant_params.num_of_bins"] == ["2048", f"common_config ({path}:3)"]


@needs_assets
def test_what_is_not_built_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    text = "common_config { hfmg_quantize { } arq_quantize { quant_bits: 6 } }"
    with pytest.raises(DiagnosticError) as caught:
        compiled(tmp_path, policy(text))
    (found,) = caught.value.diagnostics
    assert found.code == "AM290" and found.span is not None and found.span.line == 1
    assert found.message.startswith("weights of 6 bits are accepted by the language")
    assert list(tmp_path.iterdir()) == []
