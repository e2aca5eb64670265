"""Every command through its entry point: what it writes, what it prints, and its exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc import driver
from amctc.diagnostics import DiagnosticError
from amctc.frontends import load_model
from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.runtime.executor import run_graph
from amctc.runtime.sampling import chosen_numbers
from amctc.source import SourceFile
from tests.e2e.command import (
    CALIBRATION,
    ENDINGS,
    MODEL,
    POLICY,
    SCORED,
    WEIGHTS,
    amctc,
    compile_digits,
    contents,
    succeed,
)
from tests.nets import conv, data, layer, write_net


def test_compile_writes_every_file_of_the_target_and_names_it(tmp_path: Path) -> None:
    said = compile_digits(tmp_path / "made/here/digits")
    assert sorted(contents(tmp_path / "made/here")) == sorted(f"digits_{ending}" for ending in ENDINGS)
    assert said.splitlines()[0] == "quantized 9 layers, 5 of them with weights"
    assert [line.strip() for line in said.splitlines()[1:]] == [
        str(tmp_path / f"made/here/digits_{ending}") for ending in ENDINGS
    ]


def test_a_prefix_that_ends_in_a_slash_is_a_folder(tmp_path: Path) -> None:
    compile_digits(Path(tmp_path / "out"), "--output", f"{tmp_path}/out/")
    assert sorted(contents(tmp_path / "out")) == sorted(ENDINGS)


def test_two_compilations_give_the_same_bytes(tmp_path: Path) -> None:
    compile_digits(tmp_path / "one/net")
    compile_digits(tmp_path / "two/net")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_two_processes_with_other_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        command = ["compile", MODEL, WEIGHTS, "-p", POLICY, "-d", CALIBRATION, "-o", tmp_path / seed / "net"]
        subprocess.run(
            [sys.executable, "-m", "amctc", *map(str, command)],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_compiling_again_to_the_same_prefix_replaces_the_files(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    eight = contents(tmp_path)
    other = tmp_path.parent / f"{tmp_path.name}.cfg"
    other.write_text('batch_num: 1\nskip_layers: "conv1"\n', encoding="utf-8")
    compile_digits(tmp_path / "net", policy=other)
    replaced = contents(tmp_path)
    assert replaced.keys() == eight.keys()
    assert all(replaced[name] != eight[name] for name in eight)
    compile_digits(tmp_path / "net")
    assert contents(tmp_path) == eight


def test_progress_goes_to_stderr_alone(tmp_path: Path) -> None:
    outcome = amctc("compile", MODEL, WEIGHTS, "-p", POLICY, "-d", CALIBRATION, "-o", tmp_path / "net")
    assert "calibrate: 2/2" in outcome.stderr
    assert "calibrate" not in outcome.stdout


def test_a_pipeline_given_as_text_is_run(tmp_path: Path) -> None:
    compile_digits(tmp_path / "usual/net")
    text = "annotate-quant,quantize-weights,observe,calibrate,quantize-bias,insert-quant"
    compile_digits(tmp_path / "unfused/net", "--pipeline", text)
    unfused = contents(tmp_path / "unfused")["net_deploy_model.prototxt"]
    assert b"BatchNorm" in unfused
    assert b"BatchNorm" not in contents(tmp_path / "usual")["net_deploy_model.prototxt"]


def test_the_deploy_and_fake_quant_models_are_scored_by_eval(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net")
    scores = [score(MODEL, WEIGHTS)]
    for kind in ("fake_quant", "deploy"):
        scores.append(score(tmp_path / f"net_{kind}_model.prototxt", tmp_path / f"net_{kind}_weights.caffemodel"))
    assert scores[0] > 0.98
    assert all(abs(found - scores[0]) <= 0.01 for found in scores[1:])


def score(model: Path, weights: Path) -> float:
    found: dict[str, float] = json.loads(
        succeed("eval", model, weights, "-d", SCORED, "--labels", "label", "--batch-size", "60", "--json")
    )
    assert list(found) == ["top1", "top5", "count"]
    assert found["count"] == 360
    assert 0 <= found["top1"] <= found["top5"] <= 1
    return found["top1"]


def test_eval_without_json_says_the_same_on_one_line() -> None:
    said = succeed("eval", MODEL, WEIGHTS, "-d", SCORED, "--labels", "label", "--batch-size", "60")
    assert said == f"top-1 {score(MODEL, WEIGHTS):.4f}  top-5 1.0000  of 360 samples\n"


def test_eval_does_not_depend_on_the_batch_size() -> None:
    plain = succeed("eval", MODEL, WEIGHTS, "-d", SCORED, "--labels", "label", "--json")
    # 360 samples are not a whole number of batches of 100.
    assert succeed("eval", MODEL, WEIGHTS, "-d", SCORED, "--labels", "label", "--batch-size", "100", "--json") == plain


def test_check_passes_a_clean_policy_and_tells_the_mistakes_of_the_others(tmp_path: Path) -> None:
    assert succeed("check", POLICY) == f"{POLICY}: ok\n"
    bad = tmp_path / "bad.cfg"
    bad.write_text("batch_num: 2\ndo_fusoin: true\n", encoding="utf-8")
    outcome = amctc("check", bad, POLICY)
    assert outcome.status == 1
    assert outcome.stdout == f"{POLICY}: ok\n"
    assert f"{bad}:2:1" in outcome.stderr
    assert "did you mean `do_fusion`?" in outcome.stderr


def test_explain_lists_every_layer_with_what_it_gets() -> None:
    rows = [line.split("\t") for line in succeed("explain", MODEL, "-p", POLICY).splitlines()]
    assert rows[0] == ["layer", "type", "quantized", "weights", "scale", "data", "because of"]
    told = {row[0]: row[1:] for row in rows[1:]}
    assert told["conv1"] == ["Convolution", "yes", "arq 8", "channel", "8", f"common_config ({POLICY}:10)"]
    assert told["fc"][3] == "layer"
    assert told["fc"][5].startswith("override_layer_types")
    assert told["data"] == ["Input", "no: its type is never quantized", "", "", "", "built-in default of Input"]
    assert told["conv1/relu"][1] == "no: off by default"


def test_explain_names_the_rule_behind_each_value() -> None:
    rows = [line.split("\t") for line in succeed("explain", MODEL, "-p", POLICY, "--fields").splitlines()]
    assert rows[0] == ["layer", "type", "field", "value", "because of"]
    because = {(row[0], row[2]): row[4] for row in rows[1:]}
    assert because["", "batch_num"] == f"batch_num ({POLICY}:4)"
    assert because["conv1", "weight_quant_params.num_bits"] == f"common_config ({POLICY}:23)"
    assert because["fc", "weight_quant_params.channel_wise"].startswith("override_layer_types")
    assert because["conv1", "quant_enable"] == "built-in default of Convolution"


def test_explain_of_one_layer_tells_its_values_and_the_rules_that_lost() -> None:
    said = succeed("explain", MODEL, "-p", POLICY, "--layer", "fc").splitlines()
    values = [line.split("\t") for line in said if "\t" in line]
    assert {row[0] for row in values[1:]} == {"fc"}
    assert said[len(values)] == "`fc` is quantized"
    assert re.fullmatch(r"common_config .*:10 lost to override_layer_types .*:\d+", said[-1])
    fields = succeed("explain", MODEL, "-p", POLICY, "--layer", "fc", "--fields").splitlines()
    assert fields == said[: len(values)]


def test_explain_of_a_layer_that_is_never_quantized_says_so() -> None:
    assert succeed("explain", MODEL, "-p", POLICY, "--layer", "data") == (
        "`data` is not quantized: its type is never quantized\n"
    )


def test_explain_as_json_is_versioned_and_tells_the_same() -> None:
    found = json.loads(succeed("explain", MODEL, "-p", POLICY, "--json"))
    assert found["version"] == 1
    values = succeed("explain", MODEL, "-p", POLICY, "--fields").splitlines()[1:]
    assert len(found["rows"]) == len(values)
    layers = succeed("explain", MODEL, "-p", POLICY).splitlines()[1:]
    assert [row["layer"] for row in found["layers"]] == [line.split("\t")[0] for line in layers]


def test_some_of_the_samples_are_taken_first_or_by_a_seed(tmp_path: Path) -> None:
    with np.load(CALIBRATION) as archive:
        samples = archive["data"]

    def record(name: str, data: Path, *more: str) -> str:
        given = (MODEL, WEIGHTS, "--policy", POLICY, "--data", data, "--batch-size", "8", "-o", tmp_path / name / "n")
        succeed("compile", *given, *more)
        return (tmp_path / name / "n_scale_offset_record.txt").read_text()

    def part(numbers: Sequence[int]) -> Path:
        path = tmp_path / f"{numbers[-1]}.npz"
        np.savez(path, data=samples[list(numbers)])
        return path

    first, seeded = range(16), chosen_numbers(len(samples), 16, 1)
    assert record("a", CALIBRATION, "--max-samples", "16") == record("b", part(first))
    chosen = record("c", CALIBRATION, "--max-samples", "16", "--sample-seed", "1")
    assert chosen == record("d", part(seeded)) != record("e", CALIBRATION)
    again = tmp_path / "f"
    driver.compile(
        MODEL, WEIGHTS, policy=POLICY, data=CALIBRATION, batch_size=8, output=again, max_samples=16, sample_seed=1
    )
    assert Path(f"{again}_scale_offset_record.txt").read_text() == chosen


def test_samples_that_are_too_few_or_a_seed_alone_are_told(tmp_path: Path) -> None:
    given = ("compile", MODEL, WEIGHTS, "-p", POLICY, "-d", CALIBRATION, "--batch-size", "8", "-o", tmp_path / "n")
    few = amctc(*given, "--max-samples", "3")
    assert few.status == 1 and "AM403" in few.stderr and "`--max-samples` leaves 3 samples" in few.stderr
    seed = amctc(*given, "--sample-seed", "3")
    assert seed.status == 1 and "AM456" in seed.stderr and "`--max-samples`" in seed.stderr
    assert amctc(*given, "--max-samples", "0").status == 2
    assert not list(tmp_path.iterdir())


def test_an_iterator_that_ends_too_early_is_told(tmp_path: Path) -> None:
    with np.load(CALIBRATION) as archive:
        samples = archive["data"]
    with pytest.raises(DiagnosticError) as caught:
        driver.compile(MODEL, WEIGHTS, policy=POLICY, data=iter(samples[:12]), batch_size=8, output=tmp_path / "n")
    (told,) = caught.value.diagnostics
    assert told.code == "AM403"
    assert told.message == "the policy asks for 2 batches of 8 samples, the data holds only 12 samples"
    driver.compile(MODEL, WEIGHTS, policy=POLICY, data=iter(samples[:16]), batch_size=8, output=tmp_path / "n")


def test_config_expands_a_policy_to_a_layer_config_that_compiles_to_the_same_bytes(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    assert succeed("config", MODEL, "-p", POLICY, "-o", config) == f"wrote {config}\n"
    succeed("check", config)
    compile_digits(tmp_path / "cfg/net")
    compile_digits(tmp_path / "json/net", policy=config)
    assert contents(tmp_path / "cfg") == contents(tmp_path / "json")


def test_config_without_a_policy_writes_the_defaults(tmp_path: Path) -> None:
    succeed("config", MODEL, "-o", tmp_path / "config.json")
    found = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (found["version"], found["batch_num"], found["do_fusion"]) == (1, 1, True)
    assert found["conv1"]["quant_enable"] is True
    assert found["conv1/bn"]["quant_enable"] is False


def test_config_of_its_own_output_is_that_output(tmp_path: Path) -> None:
    succeed("config", MODEL, "-p", POLICY, "-o", tmp_path / "one.json")
    succeed("config", MODEL, "-p", tmp_path / "one.json", "-o", tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.fixture
def in_place(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A net that works in place, and samples for it: model, weights, data."""
    text = data("2 3 8 8") + conv("c", "data", 4) + layer("relu", "ReLU", "c", "c") + conv("d", "c", 2, kernel=1)
    model, weights = write_net(tmp_path, text)
    samples = tmp_path / "samples.npz"
    array = np.random.default_rng(0).normal(size=(5, 3, 8, 8)).astype(np.float32)
    np.savez(samples, data=array, label=np.arange(5))
    return model, weights, samples


def test_run_writes_every_blob_and_an_in_place_blob_holds_its_last_value(
    in_place: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    model, weights, samples = in_place
    said = succeed("run", model, weights, "-d", samples, "-o", tmp_path / "out.npz", "--blobs", "all")
    assert said.splitlines() == [
        "data: 5 x 3 x 8 x 8",
        "c: 5 x 4 x 6 x 6",
        "d: 5 x 2 x 6 x 6",
        f"wrote {tmp_path / 'out.npz'}",
    ]
    with np.load(tmp_path / "out.npz") as file:
        assert file.files == ["data", "c", "d"]
        assert file["c"].min() == 0
        with np.load(samples) as given:
            assert np.array_equal(file["data"], given["data"])
            whole = run_graph(load_model(model, weights), {"data": given["data"]})
        assert all(np.allclose(file[name], whole[name], atol=1e-5) for name in whole)


def test_run_writes_the_outputs_or_the_blobs_that_are_asked_for(
    in_place: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    model, weights, samples = in_place
    succeed("run", model, weights, "-d", samples, "-o", tmp_path / "outputs.npz")
    succeed("run", model, weights, "-d", samples, "-o", tmp_path / "chosen.npz", "--blobs", "d,c")
    with np.load(tmp_path / "outputs.npz") as file:
        assert file.files == ["d"]
    with np.load(tmp_path / "chosen.npz") as file:
        assert file.files == ["d", "c"]


def test_run_applies_the_preprocessing(in_place: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model, weights, samples = in_place
    more = ("--blobs", "data", "--preprocess", "mean=1,scale=2")
    succeed("run", model, weights, "-d", samples, "-o", tmp_path / "out.npz", *more)
    with np.load(tmp_path / "out.npz") as file, np.load(samples) as given:
        assert np.allclose(file["data"], (given["data"] - 1) * 2)


def test_print_shows_every_layer_without_its_numbers() -> None:
    said = succeed("print", MODEL, WEIGHTS)
    graph = load_model(MODEL, WEIGHTS)
    assert said == print_graph(graph, elide_weights=True)
    assert all(f'"{node.name}"' in said for node in graph.nodes)


def test_print_in_full_is_read_back_as_the_same_graph() -> None:
    said = succeed("print", MODEL, WEIGHTS, "--full")
    graph = parse_graph(SourceFile("printed", said))
    assert print_graph(graph, elide_weights=False) == said
    assert np.array_equal(graph.node("fc").weights["weight"], load_model(MODEL, WEIGHTS).node("fc").weights["weight"])


@pytest.mark.parametrize(
    ("command", "key", "some"),
    [
        ("passes", "passes", {"fuse-batchnorm", "calibrate", "insert-quant"}),
        ("targets", "targets", {"caffe"}),
        ("ops", "ops", {"Convolution", "InnerProduct", "Eltwise"}),
    ],
)
def test_what_is_registered_is_listed_as_a_table_and_as_versioned_json(command: str, key: str, some: set[str]) -> None:
    found: dict[str, Any] = json.loads(succeed(command, "--json"))
    assert found["version"] == 1
    rows = succeed(command).splitlines()
    table, more = rows[: 1 + len(found[key])], rows[1 + len(found[key]) :]
    assert len({line.count("\t") for line in table}) == 1
    # The pipelines are a second table, after that of the passes.
    assert [line.split("\t")[0] for line in more[1:]] == [each["name"] for each in found.get("pipelines", ())]
    listed = json.dumps(found[key])
    assert all(name in listed and any(name in row for row in rows) for name in some)


def test_demo_compares_the_float_model_with_the_quantized_ones_and_keeps_the_files(tmp_path: Path) -> None:
    said = succeed("demo", "--output", tmp_path / "kept")
    rows = {line.split("\t")[0]: line.split("\t") for line in said.splitlines()}
    assert all(float(rows[model][1]) > 0.98 for model in ("float", "fake quant", "deploy"))
    assert float(rows["deploy"][2]) < float(rows["float"][2]) / 3
    assert float(rows["conv1"][-1]) > 30
    assert sorted(contents(tmp_path / "kept")) == sorted(f"digits_{ending}" for ending in ENDINGS)


def test_demo_without_a_folder_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "amctc demo --output FOLDER" in succeed("demo")
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("compil",),
        ("compile",),
        ("compile", MODEL, WEIGHTS),
        ("compile", MODEL, "--nope"),
        ("run", MODEL, WEIGHTS, "-d", SCORED, "-o", "x.npz", "--batch-size", "0"),
        ("run", MODEL, WEIGHTS, "-d", SCORED, "-o", "x.npz", "--batch-size", "many"),
        ("eval", MODEL, WEIGHTS, "-d", SCORED),
        ("check",),
        ("print", MODEL, WEIGHTS, "one-too-many"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_prints_nothing_on_stdout(
    arguments: tuple[str | Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = amctc(*arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "Usage: amctc" in outcome.stderr
    assert not contents(tmp_path)


def test_help_lists_the_commands() -> None:
    said = succeed("--help")
    for command in (
        "compile",
        "check",
        "explain",
        "config",
        "run",
        "eval",
        "print",
        "ops",
        "passes",
        "targets",
        "demo",
    ):
        assert re.search(rf"^  {command} ", said, re.MULTILINE)


def test_a_bug_of_ours_ends_with_status_70_and_leaves_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(driver, "write_config", fail)
    outcome = amctc("config", MODEL, "-o", tmp_path / "config.json")
    assert (outcome.status, outcome.stdout) == (70, "")
    (report,) = tmp_path.iterdir()
    assert str(report) in outcome.stderr
    text = report.read_text(encoding="utf-8")
    assert f"command: amctc config {MODEL}" in text
    assert "RuntimeError: the graph is on fire" in text
    assert "Traceback" in text


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("the graph is on fire")


def test_a_report_that_cannot_be_written_here_goes_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(driver, "write_config", fail)
    assert amctc("config", MODEL, "-o", tmp_path / "config.json").status == 70
    (report,) = tmp_path.iterdir()
    assert "on fire" in report.read_text(encoding="utf-8")


def test_the_installed_command_and_the_module_map_mistakes_to_the_same_status(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.prototxt")
    for command in ([str(Path(sys.executable).with_name("amctc"))], [sys.executable, "-m", "amctc"]):
        ended = subprocess.run([*command, "print", missing], capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith(f"error[AM100]: there is no file `{missing}`")
