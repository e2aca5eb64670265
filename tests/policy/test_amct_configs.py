"""AMCT's own layer configs for PyTorch: they are read, weights of poolings included, and written as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amctc.driver import write_config
from amctc.ir import Graph
from amctc.policy import Policy, resolve, to_json
from amctc.policy.flavours import PYTORCH
from amctc.source import SourceFile
from tests.onnx_nets import load, make_model
from tests.shared_files import GOLDEN, needs_golden

FOLDER = GOLDEN / "amct_pytorch"


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    body = "y = AveragePool <kernel_shape = [2, 2]> (x)"
    return load(make_model("(float[1, 2, 4, 4] x) => (float[1, 2, 3, 3] y)", f"[pool] {body}"), tmp_path)


def weights_of_pool(policy: str, graph: Graph) -> object:
    (name,) = resolve(Policy.from_text(SourceFile("quant.cfg", policy), flavour=PYTORCH.name), graph).layers
    resolved = resolve(Policy.from_text(SourceFile("quant.cfg", policy), flavour=PYTORCH.name), graph)
    return json.loads(to_json(resolved))[name].get("weight_quant_params")


@pytest.mark.parametrize(("said", "bits"), [(4, 4), (6, 8), (7, 8), (8, 8)])
def test_a_pooling_has_the_bits_that_amct_writes(said: int, bits: int, graph: Graph) -> None:
    found = weights_of_pool(f"common_config {{ arq_quantize {{ quant_bits: {said} }} }}", graph)
    assert found == {"num_bits": bits, "channel_wise": False, "wts_algo": "arq_quantize"}


def test_a_pooling_has_no_weights_where_ada_is_asked_for(graph: Graph) -> None:
    assert weights_of_pool("common_config { ada_quantize { } }", graph) is None


@needs_golden
@pytest.mark.parametrize("case", ["default", "arq_4bit", "hfmg_sym", "ifmr_int16_asym"])
def test_a_config_of_amct_is_written_again_as_it_was(case: str, tmp_path: Path) -> None:
    """But for the layers of types that AMCT does not quantize."""
    theirs = json.loads((FOLDER / "ptq" / case / "config.json").read_text())
    renamed = {f"/{name}/{TYPES[name]}" if name in TYPES else name: said for name, said in theirs.items()}
    (tmp_path / "theirs.json").write_text(json.dumps(renamed))
    model = FOLDER / "models" / "digits_cnn.onnx"
    write_config(model, policy=tmp_path / "theirs.json", output=tmp_path / "ours.json")
    ours = json.loads((tmp_path / "ours.json").read_text())
    assert {name: ours[name] for name in renamed} == renamed


TYPES = {
    "conv1": "Conv",
    "conv2": "Conv",
    "dw": "Conv",
    "conv3": "Conv",
    "pool": "AveragePool",
    "fc1": "Gemm",
    "fc2": "MatMul",
}
