"""Timing, printing, history and dumps: what is told of a run, and that a run that is watched is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.instruments import Dumps, LayerHistory, PrintIR, Timing, timing_rows, timing_table, timing_to_json
from amctc.ir import Graph
from amctc.ir.printer import print_graph
from amctc.pipeline.failure import PassFailure
from amctc.pipeline.pipeline import Pipeline
from tests.e2e.command import MODEL, WEIGHTS
from tests.instruments.passes import Calling, HonestScaling, Idle, Scaling, Unwanted, blocks, run
from tests.nets import conv, data, layer, make_net
from tests.shared_files import ASSETS, needs_assets


class Lines:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, text: str) -> None:
        self.text += text


def net(folder: Path, count: int = 2) -> Graph:
    return make_net(folder, blocks(count))


def raising(graph: Graph) -> None:
    raise ValueError(graph.name)


def test_a_row_of_the_table_tells_what_a_pass_did(tmp_path: Path) -> None:
    first, idle, unwanted = timing_rows(run(net(tmp_path), Pipeline((*_fuse(), Idle(), Unwanted()))))
    assert (first.number, first.name, first.changed, first.before, first.after) == (1, "fuse-batchnorm", True, 9, 5)
    assert first.counts["rewrites"] == 2
    assert not idle.changed
    assert unwanted.skipped == "nobody wants it"
    assert first.share + idle.share == pytest.approx(1)
    assert unwanted.ms == unwanted.share == 0


def _fuse() -> tuple[Scaling, ...]:
    from amctc.passes.fuse_batchnorm import FuseBatchNorm

    return (FuseBatchNorm(),)  # type: ignore[return-value]


def test_refusals_are_counted(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + layer("s", "Scale", "c", "out", "scale_param { axis: 2 num_axes: 1 }")
    (only,) = timing_rows(run(make_net(tmp_path, text), "fuse-batchnorm"))
    assert only.counts["refusals"] == 1


def test_the_table_has_a_line_for_each_run_and_one_for_all(tmp_path: Path) -> None:
    seen = Lines()
    runs = run(net(tmp_path), Pipeline((*_fuse(), Idle(), Unwanted())), [Timing(seen)])
    assert seen.text == timing_table(runs)
    head, fused, idle, unwanted, every = seen.text.splitlines()
    assert head.split() == ["#", "pass", "ms", "share", "changed", "nodes", "counts"]
    assert "9 -> 5" in fused and "rewrites 2" in fused
    assert idle.split()[4:] == ["no", "5"]
    assert unwanted.endswith("skipped  5       nobody wants it")
    assert every.split()[:2] == ["all", "passes"]
    assert json.loads(json.dumps(timing_to_json(runs)))["passes"][2]["skipped"] == "nobody wants it"


def test_the_table_is_written_when_a_pass_fails(tmp_path: Path) -> None:
    seen = Lines()
    with pytest.raises(PassFailure):
        run(net(tmp_path), Pipeline((Idle(), Calling(raising))), [Timing(seen)])
    assert "idle" in seen.text


def test_the_graph_is_printed_before_and_after_the_chosen_passes(tmp_path: Path) -> None:
    seen, graph = Lines(), net(tmp_path)
    before = print_graph(graph, elide_weights=True)
    run(graph, Pipeline((Idle(), *_fuse())), [PrintIR(before=["fuse-batchnorm"], after=["idle"], write=seen)])
    assert seen.text == f"// graph after idle (1): nothing changed\n// graph before fuse-batchnorm (2)\n{before}"


def test_all_stands_for_every_pass_and_a_skipped_one_says_why(tmp_path: Path) -> None:
    seen, graph = Lines(), net(tmp_path)
    run(graph, Pipeline((Unwanted(), *_fuse())), [PrintIR(after=["all"], write=seen)])
    after = print_graph(graph, elide_weights=True)
    skipped = "// graph after unwanted (1): skipped, nobody wants it\n"
    assert seen.text == f"{skipped}// graph after fuse-batchnorm (2)\n{after}"


def test_a_pass_that_the_pipeline_has_not_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM533") as caught:
        run(net(tmp_path), "fuse-batchnorm", [PrintIR(before=["fuse-batchnrom"])])
    assert caught.value.diagnostics[0].help == "did you mean `fuse-batchnorm`?"


def test_the_history_of_a_layer_tells_which_pass_changed_it_and_why(tmp_path: Path) -> None:
    seen = Lines()
    run(net(tmp_path), Pipeline((*_fuse(), Idle(), HonestScaling("b1", 2.0))), [LayerHistory("b1", seen)])
    start, _, rest = seen.text.partition("`b1` changed by fuse-batchnorm (1)")
    assert start.startswith('layer `b1` at the start\n    node "b1" caffe.Convolution ("b0/relu") {\n')
    first, _, second = rest.partition("`b1` changed by honest-scaling (3): bias times 2\n")
    assert first.startswith(": folded BatchNorm `b1/bn` into the weights; folded Scale `b1/scale` into the weights\n")
    assert '    +  absorbed ["b1/bn", "b1/scale"]\n' in first
    assert sorted(line.split()[1] for line in second.splitlines() if " -" in line[:6]) == ["weight"]
    assert "caffe.Convolution" not in second


def test_a_layer_that_is_absorbed_is_followed_into_the_other(tmp_path: Path) -> None:
    seen = Lines()
    run(net(tmp_path), Pipeline((*_fuse(), HonestScaling("b1", 2.0))), [LayerHistory("b1/scale", seen)])
    assert "`b1/scale` absorbed by fuse-batchnorm (1) into `b1`, which is followed from here: folded" in seen.text
    assert "`b1` changed by honest-scaling (2): bias times 2" in seen.text


def test_a_layer_that_is_removed_or_made_is_told(tmp_path: Path) -> None:
    def remove(graph: Graph) -> None:
        graph.bypass(graph.node("b0/relu"))

    def make(graph: Graph) -> None:
        graph.insert_after(graph.node("b0").output, "new", "caffe.ReLU")

    removed, made = Lines(), Lines()
    steps = Pipeline((Calling(remove), Calling(make)))
    run(net(tmp_path), steps, [LayerHistory("b0/relu", removed), LayerHistory("new", made)])
    assert removed.text.splitlines()[-1] == "`b0/relu` removed by calling (1)"
    assert made.text.startswith("layer `new` is not there at the start\n`new` made by calling (2)\n    node")


def test_a_layer_that_never_was_is_told_with_the_nearest(tmp_path: Path) -> None:
    seen = Lines()
    run(net(tmp_path), "fuse-batchnorm", [LayerHistory("b1/rleu", seen)])
    assert seen.text.endswith("there was no layer `b1/rleu` at any time; did you mean `b1/relu`?\n")


def test_dumps_are_numbered_like_the_runs_and_only_of_what_changed(tmp_path: Path) -> None:
    folder, graph = tmp_path / "deep" / "dumps", net(tmp_path)
    before = print_graph(graph, elide_weights=True)
    run(graph, Pipeline((Idle(), *_fuse(), Unwanted())), [Dumps(folder)])
    assert sorted(path.name for path in folder.iterdir()) == ["00-input.txt", "02-fuse-batchnorm.txt", "timing.json"]
    assert (folder / "00-input.txt").read_text(encoding="utf-8") == before
    assert (folder / "02-fuse-batchnorm.txt").read_text(encoding="utf-8") == print_graph(graph, elide_weights=True)
    timing = json.loads((folder / "timing.json").read_text(encoding="utf-8"))
    assert [row["pass"] for row in timing["passes"]] == ["idle", "fuse-batchnorm", "unwanted"]


def test_dumps_into_what_is_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DiagnosticError, match="AM700"):
        run(net(tmp_path), "fuse-batchnorm", [Dumps(tmp_path / "file")])


def test_watching_changes_nothing(tmp_path: Path) -> None:
    plain, watched = load_model(MODEL, WEIGHTS), load_model(MODEL, WEIGHTS)
    run(plain, "fuse-batchnorm")
    seen = Lines()
    layers = [LayerHistory(node.name, seen) for node in watched.nodes]
    run(watched, "fuse-batchnorm", [Timing(seen), PrintIR(before=["all"], after=["all"], write=seen), *layers])
    assert watched == plain


@needs_assets
def test_the_history_of_a_real_network(tmp_path: Path) -> None:
    folder = ASSETS / "caffe/cifar10_resnet20"
    graph = load_model(folder / "deploy.prototxt", folder / "resnet20.caffemodel")
    folded = next(node.name for node in graph.nodes if node.type == "BatchNorm")
    seen = Lines()
    run(graph, "fuse-batchnorm", [LayerHistory(folded, seen), Dumps(tmp_path)])
    assert f"`{folded}` absorbed by fuse-batchnorm (1) into `" in seen.text
    assert (tmp_path / "00-input.txt").stat().st_size > (tmp_path / "01-fuse-batchnorm.txt").stat().st_size
