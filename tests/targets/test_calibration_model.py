"""The calibration model: what is written reads back, computes the same, and finds the factors that compile finds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc import driver
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir import Graph, Node
from amctc.pipeline.context import Context
from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.policy import Policy, resolve
from amctc.quant.activation import settings_from_plain
from amctc.quant.hfmg import HfmgSettings
from amctc.records.read_record import merge_into, read_record
from amctc.records.scale_offset import scale_offset_record, weight_records
from amctc.registry import builtin_registry
from amctc.runtime.calibration_session import CalibrationDone, CalibrationSession
from amctc.runtime.executor import Executor, run_graph
from amctc.source import SourceFile
from amctc.targets.caffe.calibration_model import calibration_model
from amctc.targets.caffe.files import prototxt
from amctc.targets.caffe.target import CaffeTarget
from tests.e2e.real_data import BATCH, Network, lenet, resnet20, squeezenet
from tests.nets import conv, data, layer, make_net
from tests.quantized import quantize, random_feeds, run_passes
from tests.runtime.test_recurrent_layers import net, random_inputs, with_everything
from tests.shared_files import needs_assets
from tests.targets.test_caffe_target import ALL, POLICIES

FRONT = "fuse-batchnorm,depthwise-affine,annotate-quant,quantize-weights,observe"
CONCAT = (
    data("2 3 8 8")
    + conv("a", "data", 4, more="pad: 1")
    + layer("a_relu", "ReLU", "a", "a")
    + conv("b", "data", 5, more="pad: 1")
    + layer("joined", "Concat", "a b", "joined")
    + conv("c", "joined", 3)
    + layer("flat", "Flatten", "c", "flat")
    + layer("fc", "InnerProduct", "flat", "fc", "inner_product_param { num_output: 4 }")
)

Feeds = Mapping[str, NDArray[np.float32]]


def written(graph: Graph, folder: Path, batch_num: int = 2) -> Graph:
    """The calibration model of a graph that has been through the passes, written and read back."""
    files = calibration_model(graph, batch_num=batch_num, record_file=str(folder / "record.txt"))
    model, weights = folder / "calibration.prototxt", folder / "calibration.caffemodel"
    model.write_text(files.prototxt, encoding="utf-8")
    weights.write_bytes(files.caffemodel)
    return load_model(model, weights)


def observed(graph: Graph, policy: str = "") -> Graph:
    run_passes(graph, FRONT, policy)
    return graph


def observers(graph: Graph) -> dict[str, Node]:
    return {node.name: node for node in graph.nodes if node.op == "quant.Observe"}


def calibrated(graph: Graph, batches: Sequence[Feeds]) -> CalibrationDone:
    """Feed a session with batch after batch, as whoever runs the model does."""
    session = CalibrationSession(graph)
    executor = Executor(graph, fetch=session.values)
    found = [session.feed(executor.run(feeds)) for feeds in batches]
    assert found[:-1] == [None] * (len(batches) - 1)
    assert found[-1] is not None and session.is_done
    return found[-1]


def assert_equal_observers(before: Graph, after: Graph, folder: Path) -> None:
    mine, theirs = observers(before), observers(after)
    assert mine.keys() == theirs.keys()
    said = {"batch_num": 2, "record_file": str(folder / "record.txt")}
    for name, node in mine.items():
        assert theirs[name].attrs == {**node.attrs, **said}
        assert theirs[name].inputs[0].producer.name == node.inputs[0].producer.name
        assert theirs[name].inputs[0].index == node.inputs[0].index


@pytest.mark.parametrize("name", list(POLICIES))
def test_observers_are_read_back_as_they_were(name: str, tmp_path: Path) -> None:
    graph = observed(make_net(tmp_path, ALL), POLICIES[name])
    assert_equal_observers(graph, written(graph, tmp_path), tmp_path)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_hidden_states_are_read_back_as_they_were(kind: str, tmp_path: Path) -> None:
    graph = observed(make_net(tmp_path, with_everything(kind)))
    back = written(graph, tmp_path)
    assert_equal_observers(graph, back, tmp_path)
    assert [value.blob for value in back.outputs] == [value.blob for value in graph.outputs]


def test_odd_settings_are_read_back_to_the_last_digit(tmp_path: Path) -> None:
    search = "num_bits: 13 search_range_start: 0.123456 search_range_end: 1.0000001 search_step: 0.017"
    rules = f"ifmr_quantize {{ {search} max_percentile: 0.9999991 min_percentile: 0.51 }}"
    graph = observed(make_net(tmp_path, ALL), f"activation_offset: false common_config {{ {rules} }}")
    assert_equal_observers(graph, written(graph, tmp_path), tmp_path)


@pytest.mark.parametrize("name", list(POLICIES))
def test_the_model_computes_what_the_graph_computes(name: str, tmp_path: Path) -> None:
    graph = observed(make_net(tmp_path, ALL), POLICIES[name])
    back = written(graph, tmp_path)
    (feeds,) = random_feeds(graph, seed=4)
    mine, theirs = ({v.producer.name: array for v, array in run_all(g, feeds).items()} for g in (graph, back))
    assert mine.keys() == theirs.keys()
    for layer_name, array in mine.items():
        assert np.array_equal(array, theirs[layer_name]), layer_name


def run_all(graph: Graph, feeds: Feeds) -> dict[Any, NDArray[Any]]:
    values = [value for node in graph.nodes for value in node.outputs]
    return dict(Executor(graph, fetch=values).run(feeds))


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_a_recurrent_model_computes_what_the_graph_computes(kind: str, tmp_path: Path) -> None:
    graph = observed(make_net(tmp_path, net(kind)))
    back = written(graph, tmp_path)
    feeds = random_inputs(graph)
    mine, theirs = run_graph(graph, feeds), run_graph(back, feeds)
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[blob], theirs[blob]) for blob in mine)


def test_a_blob_is_watched_before_a_layer_in_place_overwrites_it(tmp_path: Path) -> None:
    rules = 'override_layer_types { layer_type: "ReLU" calibration_config { ifmr_quantize { } } }'
    graph = observed(make_net(tmp_path, data("1 1 4 4") + conv("c", "data", 2) + layer("r", "ReLU", "c", "c")), rules)
    back = written(graph, tmp_path)
    assert back.node("r").inputs[0].blob != back.node("r").output.blob == "c"


def test_without_observers_it_is_the_model_with_quantized_weights(tmp_path: Path) -> None:
    graph = make_net(tmp_path, ALL)
    run_passes(graph, "fuse-batchnorm,depthwise-affine,annotate-quant,quantize-weights")
    back = written(graph, tmp_path)
    assert not CalibrationSession.is_needed(back)
    quant = graph.node("fc").quant
    assert quant is not None and quant.weight is not None
    assert np.array_equal(
        back.node("fc").weights["weight"],
        graph.node("fc").weights["weight"].astype(np.float32) * quant.weight.scales["weight"],
    )


def test_the_text_of_an_ifmr_layer(tmp_path: Path) -> None:
    graph = observed(make_net(tmp_path, data("1 1 4 4") + conv("c", "data", 2)))
    text = calibration_model(graph, batch_num=7, record_file="tmp/record.txt").prototxt
    assert (
        text[text.index('  name: "c.observe.0"') :]
        == (
            '  name: "c.observe.0"\n'
            '  type: "IFMR"\n'
            '  bottom: "data"\n'
            "  ifmr_param {\n"
            "    with_offset: true\n"
            "    search_range_start: 0.7\n"
            "    search_range_end: 1.3\n"
            "    search_step: 0.01\n"
            "    max_percentile: 0.999999\n"
            "    min_percentile: 0.999999\n"
            '    object_layer: "c"\n'
            "    batch_num: 7\n"
            '    record_file_path: "tmp/record.txt"\n'
            "    num_bits: 8\n"
            "    index: 0\n"
            "  }\n"
            "}\n"
        )
        or text.count("ifmr_param") == 1
    )


def test_a_layer_of_hfmg_has_the_bins_in_place_of_the_search(tmp_path: Path) -> None:
    rules = "common_config { hfmg_quantize { num_of_bins: 2048 dst_type: INT16 } }"
    graph = observed(make_net(tmp_path, data("1 1 4 4") + conv("c", "data", 2)), rules)
    text = calibration_model(graph, batch_num=7, record_file="tmp/record.txt").prototxt
    assert [line.strip() for line in text[text.index("ifmr_param") :].splitlines()][:10] == [
        "ifmr_param {",
        "with_offset: true",
        "num_of_bins: 2048",
        'object_layer: "c"',
        "batch_num: 7",
        'record_file_path: "tmp/record.txt"',
        "num_bits: 16",
        "index: 0",
        'observer: "hfmg"',
        "}",
    ]
    (back,) = observers(written(graph, tmp_path)).values()
    assert settings_from_plain(back.attrs["settings"]) == HfmgSettings(16, True, 2048)


@pytest.mark.parametrize("options", ["observer=minmax", "observer=entropy", "observer=percentile,percentile=99.5"])
def test_observers_of_the_pipeline_are_read_back_as_they_were(options: str, tmp_path: Path) -> None:
    graph = make_net(tmp_path, CONCAT)
    run_passes(graph, f"{FRONT}{{{options}}}")
    assert_equal_observers(graph, written(graph, tmp_path), tmp_path)


def test_a_calibration_model_can_be_written_without_layers_in_place(tmp_path: Path) -> None:
    back = written(observed(make_net(tmp_path, ALL)), tmp_path)
    assert prototxt(back, in_place=False).count('type: "IFMR"') == len(observers(back))


IFMR = 'layer {{ name: "o" type: "IFMR" bottom: "data" ifmr_param {{ {} }} }}'
WHOLE = 'object_layer: "data" record_file_path: "r.txt"'


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("", "its `ifmr_param` names no `object_layer`"),
        ('object_layer: "a"', "its `ifmr_param` has no `record_file_path`"),
        (f"{WHOLE} index: 0 index: 1", "its `ifmr_param` has 2 `index` for 1 `object_layer`"),
        (f"{WHOLE} batch_num: 0", "the `batch_num` of `ifmr_param` must be at least 1"),
        (f"{WHOLE} num_bits: 7", "`bits` cannot be 7: activations have 8 to 16 bits"),
        (f"{WHOLE} max_percentile: nan", "`max_percentile` cannot be nan"),
        (f"{WHOLE} search_range_start: 2", "`search_range` cannot be (2.0, 1.3)"),
        (f"{WHOLE} search_step: 1e-300", "`search_step` cannot be 1e-300: there are at most 100000 candidates"),
        (f"{WHOLE} search_step: 0", "`search_step` cannot be 0.0"),
        (f"{WHOLE} observer: 'hfmg' num_of_bins: 1000", "`num_of_bins` cannot be 1000: the number of bins is one of"),
    ],
)
def test_a_wrong_ifmr_layer_is_refused(parameter: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data() + IFMR.format(parameter), encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        load_model(path)
    (told,) = caught.value.diagnostics
    assert told.code == "AM320" and words in told.message


def test_an_ifmr_layer_of_another_tool_has_the_usual_settings(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data() + IFMR.format(WHOLE), encoding="utf-8")
    attrs = load_model(path).node("o").attrs
    assert (attrs["inputs"], attrs["batch_num"], attrs["observer"]) == ((0,), 1, "ifmr")
    assert attrs["settings"] == {
        "bits": 8,
        "with_offset": True,
        "max_percentile": 0.999999,
        "min_percentile": 0.999999,
        "search_range": (0.7, 1.3),
        "search_step": 0.01,
    }


# -- the factors ------------------------------------------------------------------------------------------------


def saved(graph: Graph, record_file: Path, policy: str) -> dict[str, bytes]:
    """The target's files of a float graph with the factors of a record, under a policy."""
    resolved = resolve(Policy.from_text(SourceFile("policy.cfg", policy)), graph)
    context = Context(resolved, record=read_record(record_file))
    parse_pipeline(SourceFile("pipeline", "convert"), builtin_registry()).run(graph, context)
    return dict(CaffeTarget().emit(graph))


@pytest.mark.parametrize("text", [ALL, CONCAT], ids=["all", "concat"])
@pytest.mark.parametrize("name", list(POLICIES))
def test_the_way_through_files_gives_what_one_run_gives(name: str, text: str, tmp_path: Path) -> None:
    policy = POLICIES[name]
    batches = random_feeds(make_net(tmp_path, text), seed=6, count=2)
    graph = observed(make_net(tmp_path, text), policy)
    record = tmp_path / "record.txt"
    merge_into(record, weight_records(graph))
    back = written(graph, tmp_path)
    calibrated(back, batches).write()
    whole = quantize(make_net(tmp_path, text), batches, f"batch_num: 2 {policy}")
    assert record.read_text(encoding="utf-8") == scale_offset_record(whole)
    assert saved(make_net(tmp_path, text), record, policy) == CaffeTarget().emit(whole)


@pytest.mark.parametrize("kind", ["LSTM", "RNN", "GRU"])
def test_the_way_through_files_is_right_for_recurrent_layers(kind: str, tmp_path: Path) -> None:
    text = net(kind)
    batches = [random_inputs(make_net(tmp_path, text), seed) for seed in (1, 2)]
    graph = observed(make_net(tmp_path, text))
    merge_into(tmp_path / "record.txt", weight_records(graph))
    calibrated(written(graph, tmp_path), batches).write()
    whole = quantize(make_net(tmp_path, text), batches, "batch_num: 2")
    assert (tmp_path / "record.txt").read_text(encoding="utf-8") == scale_offset_record(whole)
    assert saved(make_net(tmp_path, text), tmp_path / "record.txt", "") == CaffeTarget().emit(whole)


@needs_assets
@pytest.mark.parametrize("name", ["lenet", "resnet20", "squeezenet"])
def test_the_way_through_files_gives_what_compile_gives_for_a_real_network(name: str, tmp_path: Path) -> None:
    networks = {"lenet": lambda: lenet(8), "resnet20": resnet20, "squeezenet": squeezenet}
    network: Network = networks[name]()
    rules = "batch_num: 2"
    driver.compile(
        *network.files,
        policy=Policy.from_text(SourceFile("policy.cfg", rules)),
        data=network.data,
        preprocess=network.preprocess,
        batch_size=BATCH,
        output=tmp_path / "net",
    )
    graph = observed(load_model(*network.files), rules)
    record = tmp_path / "record.txt"
    merge_into(record, weight_records(graph))
    dataset = driver.open_dataset(graph, network.data, network.preprocess)
    back = written(graph, tmp_path)
    calibrated(back, list(dataset.batches(BATCH, limit=2))).write()
    files = saved(load_model(*network.files), record, rules)
    assert [ending for ending, content in files.items() if (tmp_path / f"net_{ending}").read_bytes() != content] == []


# -- sessions ---------------------------------------------------------------------------------------------------


def test_batches_after_the_last_are_ignored(tmp_path: Path) -> None:
    graph = written(observed(make_net(tmp_path, CONCAT)), tmp_path)
    batches = random_feeds(graph, seed=2, count=3)
    done = calibrated(graph, batches[:2])
    session = CalibrationSession(graph)
    found = [session.feed(run_all(graph, feeds)) for feeds in batches]
    assert found == [None, done, None]
    assert (session.batch_num, session.batches) == (2, 3)


def test_entries_come_in_the_order_of_the_graph(tmp_path: Path) -> None:
    graph = written(observed(make_net(tmp_path, CONCAT)), tmp_path)
    done = calibrated(graph, random_feeds(graph, seed=2, count=2))
    assert [entry.name for entry in done.entries] == ["a", "b", "joined", "c", "flat", "fc"]
    assert done.entries[0].inputs[0].channels == 3
    assert done.record_file == str(tmp_path / "record.txt")


def test_data_of_zeros_are_told_of_every_layer_at_once(tmp_path: Path) -> None:
    graph = written(observed(make_net(tmp_path, CONCAT)), tmp_path, batch_num=1)
    session = CalibrationSession(graph)
    zeros = {value: np.zeros(value.shape or (), np.float32) for value in session.values}
    with pytest.raises(DiagnosticError) as caught:
        session.feed(zeros)
    assert {told.code for told in caught.value.diagnostics} == {"AM405"}
    assert len(caught.value.diagnostics) == len(observers(graph))
    assert session.feed(zeros) is None


def edited(folder: Path, pattern: str, by: str) -> str:
    """The message for a calibration model in which the first match of a pattern was replaced."""
    files = calibration_model(observed(make_net(folder, CONCAT)), batch_num=2, record_file=str(folder / "record.txt"))
    path = folder / "edited.prototxt"
    path.write_text(re.sub(pattern, by, files.prototxt, count=1), encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        CalibrationSession(load_model(path))
    told = caught.value.diagnostics[0]
    assert told.span is not None
    return f"{told.code} {told.message}"


def test_observers_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    assert "has another `batch_num` than" in edited(tmp_path, "batch_num: 2", "batch_num: 3")
    assert "has another `record_file_path` than" in edited(tmp_path, "record.txt", "other.txt")
    assert "observes for the layer `cc`, which is not there" in edited(tmp_path, 'r: "c"', 'r: "cc"')
    assert "observes for input 7 of `" in edited(tmp_path, "index: 0", "index: 7")
    assert "observes for input 0 of `fc`, as `" in edited(tmp_path, 'object_layer: "c"', 'object_layer: "fc"')


def test_an_unknown_observer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data() + IFMR.format(f'{WHOLE} observer: "mine"'), encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        CalibrationSession(load_model(path))
    assert caught.value.diagnostics[0].code == "AM524"
