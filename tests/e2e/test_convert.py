"""`amctc convert`: a record that `amctc compile` wrote gives the same files again, a user's own gives its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc import driver
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph
from amctc.policy import Policy
from amctc.records.read_record import read_record
from amctc.records.scale_record import record_text
from amctc.registry import PASSES
from amctc.runtime.executor import read_inputs
from amctc.source import SourceFile
from tests.e2e.command import CALIBRATION, ENDINGS, MODEL, POLICY, WEIGHTS, amctc, compile_digits, contents, succeed
from tests.e2e.real_data import BATCH, Network, lenet, resnet20, squeezenet
from tests.nets import conv, data, layer, write_net
from tests.quantized import random_feeds
from tests.runtime.test_recurrent_layers import with_everything
from tests.shared_files import needs_assets
from tests.targets.test_caffe_target import ALL, POLICIES

BN = "batch_norm_param { use_global_stats: true }"
CHAIN = (
    data("2 3 6 6")
    + conv("conv", "data", 4)
    + layer("bn", "BatchNorm", "conv", "bn", BN)
    + layer("scale", "Scale", "bn", "scale", "scale_param { bias_term: true }")
    + layer("relu", "ReLU", "scale", "relu")
    + layer("fc", "InnerProduct", "relu", "fc", "inner_product_param { num_output: 3 }")
)
QUANTIZE_BN = 'override_layer_types { layer_type: "BatchNorm" calibration_config { ifmr_quantize { } } }'
QUANTIZE_SCALE = 'override_layer_types { layer_type: "Scale" calibration_config { ifmr_quantize { } } }'


def policy(text: str) -> Policy:
    return Policy.from_text(SourceFile("policy.cfg", text))


def files(folder: Path, name: str) -> Mapping[str, bytes]:
    return {ending: (folder / f"{name}_{ending}").read_bytes() for ending in ENDINGS}


def assert_the_record_gives_the_same_files(folder: Path, model: Path, weights: Path) -> None:
    """Convert with the record that lies beside the files `net_…` of a compilation, and compare all of them."""
    driver.convert(model, weights, record=folder / "net_scale_offset_record.txt", output=folder / "again")
    compiled, converted = files(folder, "net"), files(folder, "again")
    assert [ending for ending in ENDINGS if compiled[ending] != converted[ending]] == []


def compile_random(folder: Path, text: str, rules: str) -> tuple[Path, Path]:
    """Compile a net with random weights to `net_…`, calibrated on random data."""
    model, weights = write_net(folder, text)
    graph = load_model(model, weights)
    feeds = random_feeds(graph, seed=1, count=2)
    samples = {name: np.concatenate([batch[name] for batch in feeds]) for name in read_inputs(graph)}
    driver.compile(model, weights, policy=policy(f"batch_num: 2 {rules}"), data=samples, output=folder / "net")
    return model, weights


@needs_assets
@pytest.mark.parametrize("name", ["lenet", "resnet20", "squeezenet"])
def test_the_record_of_a_real_network_gives_the_same_files(name: str, tmp_path: Path) -> None:
    networks = {"lenet": lambda: lenet(8), "resnet20": resnet20, "squeezenet": squeezenet}
    network: Network = networks[name]()
    driver.compile(
        *network.files,
        policy=policy("batch_num: 1"),
        data=network.data,
        preprocess=network.preprocess,
        batch_size=BATCH,
        output=tmp_path / "net",
    )
    assert_the_record_gives_the_same_files(tmp_path, *network.files)


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_record_gives_the_same_files_whatever_the_policy_was(name: str, tmp_path: Path) -> None:
    model, weights = compile_random(tmp_path, ALL, POLICIES[name])
    assert_the_record_gives_the_same_files(tmp_path, model, weights)


@pytest.mark.parametrize("rules", ["", "do_fusion: false", 'skip_fusion_layers: "conv"', 'skip_fusion_layers: "scale"'])
@pytest.mark.parametrize("also", ["", QUANTIZE_BN, QUANTIZE_SCALE, QUANTIZE_BN + QUANTIZE_SCALE])
def test_layers_that_were_left_apart_stay_apart(rules: str, also: str, tmp_path: Path) -> None:
    model, weights = compile_random(tmp_path, CHAIN, f"{rules} {also}")
    assert_the_record_gives_the_same_files(tmp_path, model, weights)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
@pytest.mark.parametrize("rules", ["", "common_config { ifmr_quantize { num_bits: 12 } }"])
def test_the_record_of_a_recurrent_layer_gives_the_same_files(kind: str, rules: str, tmp_path: Path) -> None:
    model, weights = write_net(tmp_path, with_everything(kind))
    graph = load_model(model, weights)
    (feeds,) = random_feeds(graph, seed=3)
    samples: dict[str, Any] = {name: feeds[name] for name in read_inputs(graph)}
    driver.compile(model, weights, policy=policy(rules), data=iter([samples]), batch_size=1, output=tmp_path / "net")
    assert_the_record_gives_the_same_files(tmp_path, model, weights)


# -- a user's own record ------------------------------------------------------------------------------------------


def convert_text(folder: Path, text: str, record: str) -> Graph:
    """Convert a net with random weights with a record given as text."""
    model, weights = write_net(folder, text)
    path = folder / "record.txt"
    path.write_text(record, encoding="utf-8")
    return driver.convert(model, weights, record=path, output=folder / "out").graph


FC = 'record { key: "fc" value { scale_w: 0.02 offset_w: 0 record_d { scale_d: 0.05 offset_d: -7 index: 0 } } }'


def test_only_the_layers_in_the_record_are_quantized(tmp_path: Path) -> None:
    graph = convert_text(tmp_path, CHAIN, FC)
    assert [node.name for node in graph.nodes if node.quant is not None] == ["fc"]
    assert (tmp_path / "out_deploy_model.prototxt").read_text().count('type: "Quant"') == 1


def test_the_weights_and_the_bias_are_on_the_given_grid(tmp_path: Path) -> None:
    graph = convert_text(tmp_path, CHAIN, FC)
    float_fc = load_model(*write_net(tmp_path, CHAIN)).node("fc").weights
    fc = graph.node("fc").weights
    steps = np.rint(float_fc["weight"].astype(np.float32) / np.float32(0.02))
    assert (fc["weight"] == np.clip(steps, -128, 127)).all()
    assert (fc["bias"] == np.rint(float_fc["bias"].astype(np.float32) / (np.float32(0.05) * np.float32(0.02)))).all()
    (quantize,) = (node for node in graph.nodes if node.op == "quant.Quantize")
    assert (quantize.attrs["scale"], quantize.attrs["offset"]) == (float(np.float32(0.05)), -7)


def test_the_older_form_gives_the_same_model(tmp_path: Path) -> None:
    convert_text(tmp_path, CHAIN, FC)
    new = files(tmp_path, "out")
    convert_text(tmp_path, CHAIN, 'record { key: "fc" value { scale_d: 0.05 offset_d: -7 scale_w: 0.02 offset_w: 0 } }')
    assert files(tmp_path, "out") == new


CONV = 'record {{ key: "conv" value {{ {} scale_w: 0.02 offset_w: 0 scale_d: 0.05 offset_d: 0 }} }}'


def test_layers_are_fused_unless_the_record_says_otherwise(tmp_path: Path) -> None:
    fused = convert_text(tmp_path, CHAIN, CONV.format(""))
    assert "bn" not in fused and "scale" not in fused
    apart = convert_text(tmp_path, CHAIN, CONV.format("skip_fusion: true"))
    assert "bn" in apart and "scale" in apart


def test_an_entry_may_keep_a_float_layer_from_being_fused(tmp_path: Path) -> None:
    graph = convert_text(tmp_path, CHAIN, FC + 'record { key: "conv" value { skip_fusion: true } }')
    assert "bn" in graph and graph.node("conv").quant is None


def test_a_batch_norm_with_factors_of_its_own_stays_a_batch_norm(tmp_path: Path) -> None:
    own = 'record { key: "bn" value { skip_fusion: true record_d { scale_d: 0.5 offset_d: 1 index: 0 } } }'
    graph = convert_text(tmp_path, CHAIN, own)
    assert graph.node("bn").quant is not None
    assert graph.node("bn").inputs[0].producer.op == "quant.AntiQuantize"


def test_factors_of_a_layer_that_is_folded_away_are_refused(tmp_path: Path) -> None:
    own = 'record {\n  key: "bn"\n  value { record_d { scale_d: 0.5 offset_d: 1 index: 0 } }\n}'
    with pytest.raises(DiagnosticError) as caught:
        convert_text(tmp_path, CHAIN, own)
    (found,) = caught.value.diagnostics
    assert found.code == "AM623"
    assert found.message == "layer `bn` has become part of `conv`, so its factors cannot be applied"
    assert found.span is not None and (found.span.line, found.span.column) == (2, 8)
    assert not list(tmp_path.glob("out_*"))


def test_one_scale_or_one_for_each_channel(tmp_path: Path) -> None:
    many = " ".join(f"scale_w: {0.01 * (i + 1):g} offset_w: 0" for i in range(4))
    record = f'record {{ key: "conv" value {{ {many} record_d {{ scale_d: 0.05 offset_d: 0 index: 0 }} }} }}'
    quant = convert_text(tmp_path, CHAIN, record).node("conv").quant
    assert quant is not None and quant.weight is not None
    assert quant.weight.scales["weight"].tolist() == [float(np.float32(0.01 * (i + 1))) for i in range(4)]
    quant = convert_text(tmp_path, CHAIN, CONV.format("")).node("conv").quant
    assert quant is not None and quant.weight is not None and quant.weight.scales["weight"].size == 1


def test_the_manuals_factors_of_a_pooling_layers_weights_mean_nothing(tmp_path: Path) -> None:
    text = data("1 2 4 4") + layer("pool", "Pooling", "data", "pool", "pooling_param { pool: AVE kernel_size: 2 }")
    with_factors = (
        'record { key: "pool" value { scale_w: 1.0 offset_w: 0 record_d { scale_d: 0.05 offset_d: -128 index: 0 } } }'
    )
    model, _ = write_net(tmp_path, text)
    (tmp_path / "record.txt").write_text(with_factors, encoding="utf-8")
    made = driver.convert(model, record=tmp_path / "record.txt", output=tmp_path / "out")
    quant = made.graph.node("pool").quant
    assert quant is not None and quant.weight is None


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_what_compile_wrote(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    record = tmp_path / "net_scale_offset_record.txt"
    told = succeed("convert", MODEL, WEIGHTS, "--record", record, "--target", "caffe", "--output", tmp_path / "again")
    assert told.startswith("quantized 9 layers, 5 of them with weights\n"), told
    assert files(tmp_path, "net") == files(tmp_path, "again")


def test_the_command_tells_every_mistake_and_writes_nothing(tmp_path: Path) -> None:
    record = tmp_path / "record.txt"
    record.write_text('record { key: "conv9" value { scale_w: 0 } }\nrecord { key: "ip1" value { } }\n')
    before = contents(tmp_path)
    outcome = amctc("convert", MODEL, WEIGHTS, "-r", record, "-o", tmp_path / "out")
    assert outcome.status == 1
    assert "error[AM610]: the model has no layer `conv9`" in outcome.stderr
    assert contents(tmp_path) == before


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    deploy = tmp_path / "net_deploy_model.prototxt", tmp_path / "net_deploy_weights.caffemodel"
    outcome = amctc("convert", *deploy, "-r", tmp_path / "net_scale_offset_record.txt", "-o", tmp_path / "out")
    assert outcome.status == 1
    assert "error[AM332]: this model is quantized already" in outcome.stderr


def test_a_pipeline_that_needs_data_is_refused(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    record = tmp_path / "net_scale_offset_record.txt"
    outcome = amctc("convert", MODEL, WEIGHTS, "-r", record, "-o", tmp_path / "out", "--pipeline", "ptq")
    assert outcome.status == 1
    assert "error[AM509]: `balance-channels` runs only with calibration data" in outcome.stderr


def test_compile_refuses_the_pipeline_that_needs_a_record(tmp_path: Path) -> None:
    given = ("-p", POLICY, "-d", CALIBRATION, "-o", tmp_path / "out", "--pipeline", "convert")
    outcome = amctc("compile", MODEL, WEIGHTS, *given)
    assert outcome.status == 1
    assert "error[AM509]: `apply-record` runs only with a record" in outcome.stderr


def test_a_record_that_is_read_and_written_is_the_same(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    path = tmp_path / "net_scale_offset_record.txt"
    assert record_text(read_record(path).layers) == path.read_text(encoding="utf-8")


READER = '''
from dataclasses import dataclass
from typing import ClassVar

import amctc


@amctc.register_pass
@dataclass(frozen=True)
class ReadsRecord(amctc.Pass):
    """Breaks over what the record says."""

    name: ClassVar[str] = "reads-record"
    needs_record: ClassVar[bool] = True

    def run(self, graph: amctc.Graph, context: amctc.Context) -> bool:
        raise ValueError(f"it has {context.need_record().by_name['conv1'].scale_w[0]:.6g} for conv1")
'''


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The file of a plug-in, whose pass is forgotten again; the working folder is that of the test."""
    monkeypatch.chdir(tmp_path)
    Path("reader.py").write_text(READER, encoding="utf-8")
    before = set(PASSES.rows)
    yield "reader.py"
    for name in set(PASSES.rows) - before:
        PASSES.registration(name).remove()


def test_a_reproducer_of_a_conversion_has_the_record(reader: str, tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    plugin = ("--plugin", reader)
    given = ("-r", "net_scale_offset_record.txt", "--pipeline", "reads-record,convert", "-o", "out")
    outcome = amctc("convert", MODEL, WEIGHTS, *given, *plugin)
    assert outcome.status == 1 and "error[AM527]" in outcome.stderr
    folder = Path("amctc-reproducer-reads-record-1")
    assert (folder / "record.txt").read_bytes() == Path("net_scale_offset_record.txt").read_bytes()
    replayed = amctc("replay", folder, *plugin)
    assert replayed.stdout.startswith("this is the failure of the reproducer"), replayed
    reduced = amctc("reduce", folder, *plugin, "--output", "small")
    assert reduced.status == 0, reduced.stderr
    assert [layer.name for layer in read_record("small/record.txt").layers] == ["conv1"]
