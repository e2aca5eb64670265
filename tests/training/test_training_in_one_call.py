"""`amctc train --config`: a float net in, its quantized models out; and what its snapshots hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amctc.compat import amct_caffe as amct
from amctc.compat.amct_caffe import log
from amctc.diagnostics import DiagnosticError
from amctc.driver import train, train_quantized
from amctc.training.quantizers import UlqState
from amctc.training.ranges import ranges_bytes, read_ranges
from tests.compat.running import SAVED, saved
from tests.e2e.command import amctc, contents, succeed
from tests.training.small_nets import MEMORY, memory_data, solver_in, solver_of

WORDS = "max_iter: 6 snapshot: 2 test_iter: 1 test_interval: 3 test_initialization: false"
RESULTS = (*SAVED, "atc_model.prototxt", "retrain_model.prototxt", "retrain_weights.caffemodel")


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a float net, its weights, its data, a solver and a config."""
    monkeypatch.chdir(tmp_path)
    log.close_log()
    solver_in(tmp_path, MEMORY, WORDS)
    arrays = memory_data()["data"]
    np.savez("data.npz", data=arrays["data"], label=arrays["label"])
    Path("net.caffemodel").write_bytes(solver_of(Path("solver.prototxt"), data=memory_data()).weights_file())
    write_config()
    yield tmp_path
    log.close_log()


def write_config(batch_num: int = 1, **layers: Mapping[str, Any]) -> None:
    amct.create_quant_retrain_config("config.json", "net.prototxt", "net.caffemodel")
    config = json.loads(Path("config.json").read_text(encoding="utf-8"))
    for name, values in layers.items():
        config[name] |= values
    Path("config.json").write_text(json.dumps(config | {"batch_num": batch_num}), encoding="utf-8")


def written() -> dict[str, bytes]:
    """All snapshots and results."""
    return {**saved(Path("results/net")), **saved(Path("run"))}


COMMAND = ("train", "-s", "solver.prototxt", "-d", "data=data.npz", "--config", "config.json", "-o", "results/net")
BEGIN = ("-w", "net.caffemodel")


def test_one_call_gives_what_the_three_steps_give() -> None:
    out = succeed(*COMMAND, *BEGIN)
    made = saved(Path("results/net"))
    assert set(RESULTS) <= set(made)
    assert all(f"  results/net_{name}" in out for name in RESULTS)
    amct.create_quant_retrain_model(
        "net.prototxt", "net.caffemodel", "config.json", "net2.prototxt", "net2.caffemodel", "record.txt"
    )
    solver = Path("solver.prototxt")
    text = solver.read_text(encoding="utf-8").replace('"net.prototxt"', '"net2.prototxt"').replace("/run", "/again")
    solver.write_text(text, encoding="utf-8")
    train(solver, weights=["net2.caffemodel"], data={"data": "data.npz"})
    assert Path("again_iter_6.caffemodel").read_bytes() == made["retrain_weights.caffemodel"]
    amct.save_quant_retrain_model("net2.prototxt", "again_iter_6.caffemodel", "Both", "steps/net")
    steps = saved(Path("steps/net"))
    assert {name: made[name] for name in steps} == steps


def test_without_an_output_the_results_stand_beside_the_snapshots(desk: Path) -> None:
    done = train_quantized(
        "solver.prototxt", config="config.json", weights=["net.caffemodel"], data={"data": "data.npz"}
    )
    assert done.iteration == 6 and desk / "run_deploy_model.prototxt" in done.files
    assert all(path.exists() for path in done.files)


@pytest.mark.parametrize(("batch_num", "at"), [(1, 2), (1, 4), (5, 2), (5, 4)])
def test_a_training_that_was_killed_goes_on_to_the_same_results(batch_num: int, at: int) -> None:
    write_config(batch_num)
    succeed(*COMMAND, *BEGIN)
    whole = written()
    for path in (*Path("results").iterdir(), *Path.cwd().glob("run_iter_6.*")):
        path.unlink()
    assert Path(f"run_iter_{at}.ranges").exists() == (at < batch_num)
    succeed(*COMMAND, "--snapshot", f"run_iter_{at}.solverstate")
    assert written() == whole


def test_without_what_was_seen_the_ranges_are_measured_anew() -> None:
    write_config(5)
    succeed(*COMMAND, *BEGIN)
    whole = saved(Path("results/net"))
    Path("run_iter_2.ranges").unlink()
    text = Path("solver.prototxt").read_text(encoding="utf-8").replace("max_iter: 6", "max_iter: 7")
    Path("solver.prototxt").write_text(text, encoding="utf-8")
    succeed(*COMMAND, "--snapshot", "run_iter_2.solverstate")
    assert saved(Path("results/net"))["scale_offset_record.txt"] != whole["scale_offset_record.txt"]


@pytest.mark.parametrize("wrong", ["cut", "other iteration"])
def test_ranges_that_do_not_belong_there_are_refused(wrong: str) -> None:
    write_config(5)
    succeed(*COMMAND, *BEGIN)
    ranges = Path("run_iter_2.ranges")
    if wrong == "cut":
        ranges.write_bytes(ranges.read_bytes()[:-40])
    else:
        os.replace("run_iter_4.ranges", ranges)
    before = contents(Path("results"))
    outcome = amctc(*COMMAND, "--snapshot", "run_iter_2.solverstate")
    assert outcome.status == 1 and "AM932" in outcome.stderr
    assert contents(Path("results")) == before


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ({"other": UlqState(batches=3)}, "this net learns no range in `layer`"),
        ({"layer": UlqState(batches=3, bits=12)}, "is measured in another way"),
        ({"layer": UlqState(batches=2)}, "is not being measured"),
    ],
)
def test_ranges_of_another_net_are_refused(there: Mapping[str, UlqState], why: str) -> None:
    state = UlqState(batches=3)
    for _ in range(2):
        state.quantize(torch.arange(4.0), torch.zeros(1), torch.zeros(1))
    data = ranges_bytes({"layer": state}, 7)
    assert data is not None
    Path("a.ranges").write_bytes(data)
    assert [seen for seen, _ in read_ranges(Path("a.ranges"), {"layer": UlqState(batches=3)}, 7).values()] == [2]
    with pytest.raises(DiagnosticError, match=f"AM932.*{why}"):
        read_ranges(Path("a.ranges"), there, 7)


def test_a_solver_that_goes_back_to_a_snapshot_measures_from_there_on() -> None:
    write_config(3)
    amct.create_quant_retrain_model(
        "net.prototxt", "net.caffemodel", "config.json", "net.prototxt", "net.caffemodel", "record.txt"
    )
    solver = solver_of(Path("solver.prototxt"), data=memory_data(), weights=["net.caffemodel"])
    solver.step(2)
    _, state, ranges = solver.written
    assert ranges.suffix == ".ranges"
    solver.step(3)
    wanted = solver.weights_file()
    solver.restore(state)
    solver.step(3)
    assert solver.weights_file() == wanted


class TestMistakes:
    def test_a_mistake_leaves_every_file_as_it_was(self, desk: Path) -> None:
        succeed(*COMMAND, *BEGIN)
        write_config(1, conv={"retrain_weight_config": {"algo": "arq_retrain", "channel_wise": True, "num_bits": 3}})
        before = contents(desk)
        outcome = amctc(*COMMAND, *BEGIN)
        assert outcome.status == 1 and contents(desk) == before

    def test_an_error_after_the_training_leaves_the_results_as_they_were(self) -> None:
        succeed(*COMMAND, *BEGIN)
        before = contents(Path("results"))
        text = Path("solver.prototxt").read_text(encoding="utf-8")
        Path("solver.prototxt").write_text(text.replace("max_iter: 6", "max_iter: 0"), encoding="utf-8")
        outcome = amctc(*COMMAND, *BEGIN)
        assert outcome.status == 1 and "AM637" in outcome.stderr
        assert contents(Path("results")) == before

    def test_a_net_for_each_phase(self) -> None:
        text = Path("solver.prototxt").read_text(encoding="utf-8")
        nets = 'train_net: "net.prototxt" test_net: "net.prototxt"'
        Path("solver.prototxt").write_text(text.replace('net: "net.prototxt"', nets), encoding="utf-8")
        with pytest.raises(DiagnosticError, match="AM907"):
            train_quantized("solver.prototxt", config="config.json", weights=["net.caffemodel"])

    def test_no_weights_to_begin_with(self) -> None:
        with pytest.raises(DiagnosticError, match="AM908"):
            train_quantized("solver.prototxt", config="config.json")

    def test_a_model_that_is_quantized_already(self) -> None:
        succeed(*COMMAND, *BEGIN)
        Path("net.prototxt").write_bytes(Path("results/net_retrain_model.prototxt").read_bytes())
        outcome = amctc(*COMMAND, "-w", "results/net_retrain_weights.caffemodel")
        assert outcome.status == 1 and "AM332" in outcome.stderr

    def test_results_without_a_config_are_wrong_usage(self) -> None:
        outcome = amctc("train", "-s", "solver.prototxt", "-o", "results/net")
        assert outcome.status == 2 and "--config" in outcome.stderr
