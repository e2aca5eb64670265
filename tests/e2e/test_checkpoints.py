"""`amctc compile --checkpoint`: an interrupted compilation goes on, and writes what one without a break does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amctc
from amctc.progress import Silent
from amctc.runtime.executor import Executor
from tests.e2e.command import CALIBRATION, MODEL, WEIGHTS, compile_digits, contents
from tests.e2e.command import amctc as command

POLICY = "batch_num: 20 common_config { ifmr_quantize { } }"
HFMG = "batch_num: 20 common_config { hfmg_quantize { } }"


@pytest.fixture(autouse=True)
def every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each batch."""
    monkeypatch.setattr("amctc.runtime.sharded_calibration.TOGETHER", 1)


class Stop(Silent):
    """Interrupts the program when so many batches are done."""

    def __init__(self, at: int) -> None:
        self._at = at

    def step(self, done: int) -> None:
        if done == self._at:
            raise KeyboardInterrupt


def arguments(folder: Path, policy: str, **more: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    rules = folder.parent / f"{folder.name}.cfg"
    rules.write_text(policy)
    return {"policy": rules, "data": CALIBRATION, "batch_size": 2, "output": folder / "net"} | more


def interrupted(folder: Path, kept: Path, policy: str = POLICY, at: int = 16, **more: Any) -> None:
    """A compilation that ends at 16 batches of 20, with 15 of them kept."""
    given = arguments(folder, policy, checkpoint=kept, checkpoint_every=0, progress=Stop(at), **more)
    with pytest.raises(KeyboardInterrupt):
        amctc.compile(MODEL, WEIGHTS, **given)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("policy", [POLICY, HFMG])
def test_an_interrupted_compilation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    kept = tmp_path / "kept" / "digits.checkpoint"
    interrupted(tmp_path / "out", kept, policy)
    runs: list[object] = []
    run = Executor.run_together

    def counted(self: Executor, *given: Any) -> None:
        runs.append(self)
        run(self, *given)

    monkeypatch.setattr(Executor, "run_together", counted)
    amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "out", policy, checkpoint=kept))
    assert len(runs) == 5
    assert not list(kept.parent.iterdir())
    amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "whole", policy))
    assert len(runs) == 25
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_compilation_starts_over_if_asked(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    interrupted(tmp_path / "out", kept)
    told: list[int] = []

    class Told(Silent):
        def step(self, done: int) -> None:
            told.append(done)

    given = arguments(tmp_path / "out", POLICY, checkpoint=kept, start_over=True, progress=Told())
    amctc.compile(MODEL, WEIGHTS, **given)
    assert told == list(range(21)) and not kept.exists()


def test_a_checkpoint_of_something_else_is_refused_and_says_what(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    interrupted(tmp_path / "out", kept)
    before = kept.read_bytes()
    data = tmp_path / "data.npz"
    data.write_bytes(CALIBRATION.read_bytes())
    weights = tmp_path / "other.caffemodel"
    weights.write_bytes(WEIGHTS.read_bytes() + b"\xf8\x07\x01")  # a field that nobody reads
    plugin = tmp_path / "plugin.py"
    plugin.write_text("")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"max_samples": 41}, "data"),
        ({"plugins": [plugin]}, "plug-ins"),
        ({"pipeline": "remove-dead,ptq"}, "pipeline"),
    ]
    for more, what in cases:
        with pytest.raises(amctc.DiagnosticError) as told:
            amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "out", POLICY, checkpoint=kept), **more)
        (mistake,) = told.value.diagnostics
        assert mistake.code == "AM475" and mistake.message.endswith(f"what differs: {what}"), mistake.message
    given = arguments(tmp_path / "out", POLICY, checkpoint=kept)
    changes: list[dict[str, Any]] = [{"weights": weights}, {"data": data}, {"batch_size": 1}]
    changes.append({"policy": arguments(tmp_path / "other", POLICY + "# other")["policy"]})
    for change, what in zip(changes, ("model", "data", "batches, data", "policy"), strict=True):
        with pytest.raises(amctc.DiagnosticError) as told:
            all_given: dict[str, Any] = {"weights": WEIGHTS} | given | change
            amctc.compile(MODEL, **all_given)
        assert what.split(", ")[0] in told.value.diagnostics[0].message.partition("differs: ")[2]
    assert kept.read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(b"a model")
    for more in ([], ["--start-over"]):
        outcome = command(
            "compile", MODEL, WEIGHTS, "-p", arguments(tmp_path / "out", POLICY)["policy"], "-d", CALIBRATION,
            "-o", tmp_path / "out/net", "--checkpoint", other, *more,
        )  # fmt: skip
        assert outcome.status == 1 and "AM476" in outcome.stderr
    assert other.read_bytes() == b"a model"


def test_a_damaged_checkpoint_is_told_and_may_be_started_over(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    interrupted(tmp_path / "out", kept)
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    with pytest.raises(amctc.DiagnosticError) as told:
        amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "out", POLICY, checkpoint=kept))
    assert told.value.diagnostics[0].code == "AM476"
    amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "out", POLICY, checkpoint=kept, start_over=True))
    assert not kept.exists()


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    given = arguments(tmp_path / "out", POLICY)
    cases: list[dict[str, Any]] = [
        {"workers": 2, "scheduler": "tcp://127.0.0.1:1"},
        {"workers": 0},
        {"start_over": True},
        {"checkpoint": tmp_path / "kept", "checkpoint_every": -1},
    ]
    for more in cases:
        with pytest.raises(amctc.DiagnosticError) as told:
            amctc.compile(MODEL, WEIGHTS, **given, **more)
        assert told.value.diagnostics[0].code == "AM471"


def test_a_missing_extra_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(amctc.DiagnosticError) as told:
        amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "out", POLICY, workers=2))
    (mistake,) = told.value.diagnostics
    assert mistake.code == "AM470" and mistake.help == "pip install 'amctc[dask]'"


def test_an_iterable_has_no_checkpoint(tmp_path: Path) -> None:
    with np.load(CALIBRATION) as arrays:
        samples = list(arrays["data"])
    with pytest.raises(amctc.DiagnosticError) as told:
        amctc.compile(MODEL, WEIGHTS, **arguments(tmp_path / "out", POLICY, data=samples, checkpoint=tmp_path / "kept"))
    assert told.value.diagnostics[0].code == "AM474"


def test_a_registered_observer_cannot_say_what_it_has_seen(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import amctc\n"
        "from amctc.quant.minmax import MinMaxObserver\n"
        "amctc.register_observer('mine', lambda settings, layer: MinMaxObserver(settings, layer))\n"
    )
    kept = tmp_path / "kept"
    given = arguments(tmp_path / "out", POLICY, checkpoint=kept, plugins=[plugin])
    pipeline = "annotate-quant,quantize-weights,observe{observer=mine},calibrate,quantize-bias,insert-quant"
    result = amctc.compile(MODEL, WEIGHTS, pipeline=pipeline, **given)
    (warning,) = [found for found in result.warnings if found.code == "AM472"]
    assert "`mine`" in warning.message and "`--checkpoint`" in warning.message
    assert not kept.exists()


def test_the_command_takes_a_checkpoint(tmp_path: Path) -> None:
    compile_digits(tmp_path / "net", "--checkpoint", tmp_path / "kept", "--checkpoint-every", "0", "--start-over")
    compile_digits(tmp_path / "one" / "net")
    assert not (tmp_path / "kept").exists()
    found = {name: data for name, data in contents(tmp_path).items() if name.startswith("net_")}
    assert found == contents(tmp_path / "one")
