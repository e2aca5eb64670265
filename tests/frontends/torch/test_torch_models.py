"""Torch modules as the models of every command, and policies that speak of them in torch's words."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch

import amctc
from amctc.diagnostics import DiagnosticError
from amctc.frontends import format_of, is_torch, load_model
from amctc.records.factors import layer_factors
from tests.e2e.command import amctc as command
from tests.e2e.command import succeed
from tests.e2e.test_amct_onnx_goldens import GOLDEN, calibration, network, numbers, policy, recorded
from tests.frontends.torch.torch_nets import small
from tests.shared_files import needs_golden

NETS = """
from tests.frontends.torch.torch_nets import small
from tests.modules.nets import digits, misc
import torch

def digits_cnn():
    return digits(), torch.zeros(1, 1, 8, 8), {"dynamic_axes": {"x": {0: "n"}}, "output_names": ["y"]}

def misc_net():
    return misc(), (torch.zeros(1, 3, 4, 4),), {"dynamic_axes": {"x": {0: "n"}}}

def fails():
    raise KeyError("a key")

def leaves():
    raise SystemExit(3)

def imports():
    import nothing_of_this_name

def gives_a_module():
    return digits()

def gives_words():
    return small()[0], small()[1], "x"

def gives_other_options():
    return small()[0], small()[1], {"opset": 7}

number = 3
"""


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of networks in it, as the current one."""
    (tmp_path / "own_nets.py").write_text(dedent(NETS))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("own_nets", None)


@needs_golden
@pytest.mark.parametrize(("net", "case"), [("digits_cnn", "default"), ("misc_net", "misc_default")])
def test_the_layers_that_are_quantized_of_a_module_are_those_of_amct(net: str, case: str, desk: Path) -> None:
    succeed("config", f"own_nets:{net}", "--output", "config.json")
    ours = json.loads((desk / "config.json").read_text())
    theirs = json.loads((GOLDEN / "ptq" / case / "config.json").read_text())
    on = {name: each for name, each in ours.items() if isinstance(each, dict) and each["quant_enable"]}
    assert list(on) == [name for name, each in theirs.items() if isinstance(each, dict)]
    weights = {name: each["weight_quant_params"] for name, each in on.items() if "weight_quant_params" in each}
    assert weights == {name: theirs[name]["weight_quant_params"] for name in on}


@needs_golden
def test_the_factors_of_a_module_are_those_of_amct_and_of_the_onnx_file(desk: Path) -> None:
    case = "override_types"  # by `Linear` and by `conv2`
    batches = calibration(case)
    made = [
        amctc.compile(
            model,
            policy=policy(case, desk),
            data={"x": np.concatenate(batches)},
            batch_size=len(batches[0]),
            target="onnx",
            output=desk / name,
        ).graph
        for name, model in (("torch", "own_nets:digits_cnn"), ("onnx", network(case, desk)))
    ]
    ours, plain = ({layer.node.name: layer for layer in layer_factors(graph)} for graph in made)
    theirs = {name: fields for name, fields in recorded(case).items() if "scale_d" in fields}
    assert ours.keys() == plain.keys() == theirs.keys()
    for name, fields in theirs.items():
        (data,), (other,) = ours[name].inputs, plain[name].inputs
        np.testing.assert_allclose(data.scale, numbers(fields["scale_d"])[0], rtol=2e-6, err_msg=name)
        assert (data.scale, data.offset) == (other.scale, other.offset)
        assert data.offset == int(fields["offset_d"][0])
        weights, others = ours[name].scale_w, plain[name].scale_w
        assert (weights is None) == (others is None)
        if weights is not None and others is not None:
            np.testing.assert_array_equal(weights, others)


@needs_golden
def test_one_policy_gives_one_record_through_torch_onnx_and_caffe(desk: Path) -> None:
    case = "default"
    onnx_file = network(case, desk)
    data = np.concatenate(calibration(case))
    amctc.export(onnx_file, target="caffe", output=desk / "caffe" / "digits", shapes={"x": (16, 1, 8, 8)})
    caffe: tuple[str | Path, ...] = desk / "caffe" / "digits_model.prototxt", desk / "caffe" / "digits_model.caffemodel"
    (desk / "policy.cfg").write_text("batch_num: 2\ncommon_config { ifmr_quantize { search_range_start: 0.8 } }\n")
    grids: list[dict[str, tuple[float, int, tuple[float, ...]]]] = []
    models: tuple[tuple[str | Path, ...], ...] = (("own_nets:digits_cnn",), (onnx_file,), caffe)
    for number, files in enumerate(models):
        graph = amctc.compile(
            *files,
            policy=desk / "policy.cfg",
            data={"x": data},
            batch_size=16,
            target="caffe" if files == caffe else "onnx",
            output=desk / str(number) / "net",
        ).graph
        found: dict[str, tuple[float, int, tuple[float, ...]]] = {}
        for layer in layer_factors(graph):
            if layer.scale_w is not None:
                (grid,) = layer.inputs
                found[layer.node.name] = float(grid.scale), int(grid.offset), tuple(map(float, layer.scale_w))
        grids.append(found)
    assert list(grids[0]) == ["conv1", "conv2", "dw", "conv3", "fc1", "fc2"]
    for other in grids[1:]:
        assert other.keys() == grids[0].keys()
        for name, (scale, offset, weights) in grids[0].items():
            assert other[name][0] == pytest.approx(scale, rel=1e-6) and other[name][1] == offset
            assert other[name][2] == pytest.approx(weights, rel=1e-6)


def test_a_program_is_quantized_by_one_command(desk: Path) -> None:
    module, x, _ = small()
    torch.export.save(torch.export.export(module.eval(), (x.repeat(4, 1, 1, 1),)), desk / "net.pt2")
    (desk / "policy.cfg").write_text(
        'override_layer_types { layer_type: "Conv2d" calibration_config { arq_quantize { channel_wise: true } } }\n'
        'override_layer_types { layer_type: "Linear" calibration_config { arq_quantize { channel_wise: false } } }\n'
    )
    torch.manual_seed(1)
    np.savez(desk / "data.npz", input=torch.randn(8, 1, 8, 8).numpy())
    said = succeed("compile", "net.pt2", "--policy", "policy.cfg", "--data", "data.npz", "--output", "out/net")
    assert "net_deploy_model.onnx" in said
    record = (desk / "out" / "net_scale_offset_record.txt").read_text()
    scales = {part.partition('"')[0]: part.count("scale_w") for part in record.split('key: "')[1:]}
    assert scales == {"0": 4, "3": 1}


def test_a_function_is_run_like_a_file(desk: Path) -> None:
    module, before = small()[0], list(sys.path)
    torch.manual_seed(1)
    x = torch.randn(3, 1, 8, 8)
    np.savez(desk / "data.npz", x=x.numpy())
    succeed("run", "own_nets:small", "--data", "data.npz", "--output", "out.npz")
    with torch.no_grad():
        wanted = module(x).numpy()
    with np.load(desk / "out.npz") as found:
        np.testing.assert_allclose(found[found.files[0]], wanted, rtol=0, atol=1e-6)
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such.nets:small", "there is no module `no_such`"),
        ("own_nets:missing", "the module `own_nets` has no function `missing`"),
        ("own_nets:number", "the module `own_nets` has no function `number`"),
        ("own_nets:fails", "`own_nets:fails` fails: KeyError: 'a key'"),
        ("own_nets:leaves", "`own_nets:leaves` fails: SystemExit: 3"),
        ("own_nets:imports", "fails: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("own_nets:gives_a_module", "does not return a torch module and its inputs"),
        ("own_nets:gives_words", "is no dictionary of options"),
        ("own_nets:gives_other_options", "an option `opset`, which does not exist"),
    ],
)
def test_a_function_that_gives_no_module_is_refused(name: str, said: str) -> None:
    with pytest.raises(DiagnosticError, match="AM484") as refusal:
        load_model(name)
    assert said in str(refusal.value)


def test_torch_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("amctc.torch_missing.find_spec", lambda name: None if name == "torch" else find(name))
    outcome = command("print", "net.pt2")
    assert outcome.status == 1
    assert "AM900" in outcome.stderr and "a torch model needs torch" in outcome.stderr


def test_pickled_modules_are_no_models() -> None:
    with pytest.raises(DiagnosticError, match="AM331") as refusal:
        load_model("net.pth")
    assert "torch.export.save" in str(refusal.value)


@pytest.mark.parametrize("name", ["net.pt2", "NET.PT2", "nets:make", "pkg.nets:make"])
def test_names_of_torch_models(name: str) -> None:
    assert is_torch(name)
    assert format_of(name) == "onnx"


@pytest.mark.parametrize("name", ["net.onnx", "a/b:c", "net.prototxt", ":make", "nets:", "1:2"])
def test_other_names(name: str) -> None:
    assert not is_torch(name)


def test_a_file_whose_name_looks_like_a_function_is_a_file(desk: Path) -> None:
    (desk / "a:b").touch()
    assert not is_torch("a:b")
