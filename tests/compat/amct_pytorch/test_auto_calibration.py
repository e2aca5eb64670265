"""Calibration that rolls layers back until the user's evaluator is content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import amctc.compat.amct_pytorch as amct
from amctc.compat.amct_pytorch.common.auto_calibration import (
    AutoCalibrationEvaluatorBase,
    AutoCalibrationStrategyBase,
    BinarySearchStrategy,
    CosineSimilaritySensitivity,
    MseSensitivity,
)
from amctc.diagnostics import DiagnosticError
from tests.compat.amct_pytorch.recorded import batches_of
from tests.modules.nets import digits
from tests.onnx_nets import run_model
from tests.shared_files import needs_golden

pytestmark = [needs_golden, pytest.mark.usefixtures("exported_once")]

FOUR_BITS = "common_config { arq_quantize { quant_bits: 4 channel_wise: false } }"


class Evaluator(AutoCalibrationEvaluatorBase):
    """The error of the scores beside those of the original, with so much of it allowed."""

    def __init__(self, allowed: float, batches: int = 1) -> None:
        self.allowed = allowed
        self.batches = batches_of("default")[:batches]
        self.test = batches_of("default")[-1]
        self.expected = digits()(self.test)
        self.evaluated: list[nn.Module] = []

    def calibration(self, model: Any) -> None:
        for batch in self.batches:
            model(batch)

    def evaluate(self, model: Any) -> float:
        self.evaluated.append(model)
        return float((model(self.test) - self.expected).square().mean())

    def metric_eval(self, original_metric: Any, new_metric: Any) -> tuple[bool, float]:
        return new_metric - original_metric <= self.allowed, new_metric - original_metric


def calibrate(evaluator: Any, folder: Path, cfg: str = FOUR_BITS, **options: Any) -> None:
    example = (batches_of("default")[0],)
    (folder / "quant.cfg").write_text(cfg)
    amct.create_quant_config("config.json", digits(), example, config_defination="quant.cfg")
    amct.accuracy_based_auto_calibration(
        digits(), evaluator, "config.json", "record.txt", "results/net", example, **options
    )


def read(path: str) -> Any:
    return json.loads(Path(path).read_text())


def floats(path: str) -> set[str]:
    """The layers that a config leaves float."""
    return {name for name, said in read(path).items() if isinstance(said, dict) and not said["quant_enable"]}


def test_a_model_that_is_good_enough_is_quantized_whole(desk: Path) -> None:
    evaluator = Evaluator(allowed=1e9)
    calibrate(evaluator, desk)
    assert len(evaluator.evaluated) == 2
    assert floats("results/accuracy_based_auto_calibration_final_config.json") == set()
    assert Path("results/net_deploy_model.onnx").exists()


def test_the_module_that_is_judged_computes_what_the_saved_model_does(desk: Path) -> None:
    evaluator = Evaluator(allowed=1e9)
    calibrate(evaluator, desk)
    (judged,) = evaluator.evaluated[1:]
    batch = batches_of("default")[0]
    with torch.no_grad():
        simulated = judged(batch).numpy()
    (saved,) = run_model(Path("results/net_fake_quant_model.onnx"), {"x": batch.numpy()}).values()
    # The saved model rounds biases, too.
    assert np.abs(simulated - saved).max() < 0.02 * np.abs(saved).max()


def test_the_most_sensitive_layers_stay_float_and_no_more_than_needed(desk: Path) -> None:
    strict = Evaluator(allowed=0.1)
    calibrate(strict, desk)
    ranking: dict[str, float] = read("results/accuracy_based_auto_calibration_ranking_information.json")
    assert list(ranking.values()) == sorted(ranking.values())
    stay = floats("results/accuracy_based_auto_calibration_final_config.json")
    assert stay == set(list(ranking)[: len(stay)]) and 0 < len(stay) < len(ranking)
    trials = read("amct_log/accuracy_based_auto_calibration_record.json")
    good = {len(trial["float_layers"]): trial["metric_eval"][0] for trial in trials}
    assert good[len(stay)] and not good[len(stay) - 1]
    assert not stay & {line.split('"')[1] for line in Path("record.txt").read_text().splitlines() if "key" in line}


def test_nothing_is_written_for_a_model_that_cannot_be_quantized(desk: Path, caplog: pytest.LogCaptureFixture) -> None:
    calibrate(Evaluator(allowed=0.0), desk)
    assert not list(desk.glob("results/*.onnx")) and not Path("record.txt").exists()
    assert len(read("results/accuracy_based_auto_calibration_ranking_information.json")) == 7


def test_a_strategy_of_the_user_gets_the_ranking_and_is_followed(desk: Path) -> None:
    class OneLayer(AutoCalibrationStrategyBase):
        def initialize(self, ranking_info: Any) -> None:
            self.ranking = ranking_info

        def update_quant_config(self, metric_eval: Any) -> Any:
            return {"stop_flag": True, "roll_back_config": {"fc1": False}}

    strategy = OneLayer()
    calibrate(Evaluator(allowed=1e-9), desk, strategy=strategy, sensitivity=MseSensitivity())
    assert set(strategy.ranking) == {"conv1", "conv2", "dw", "conv3", "pool", "fc1", "fc2"}
    assert all(value <= 0 for value in strategy.ranking.values())
    assert floats("results/accuracy_based_auto_calibration_final_config.json") == {"fc1"}


@pytest.mark.parametrize("enough", range(1, 9))
def test_a_binary_search_finds_the_least_number(enough: int) -> None:
    strategy = BinarySearchStrategy()
    strategy.initialize({f"layer{number}": number / 8 for number in range(8)})
    answer, float_layers = strategy.update_quant_config((False, 1.0)), 0
    for _ in range(5):
        float_layers = sum(not quantized for quantized in answer["roll_back_config"].values())
        if answer["stop_flag"]:
            break
        answer = strategy.update_quant_config((float_layers >= enough, 0.0))
    assert answer["stop_flag"] and float_layers == enough


def test_what_is_most_alike_has_the_largest_sensitivity() -> None:
    data = np.array([1.0, -2.0, 3.0], np.float32)
    near, far = data + np.float32(0.1), -data
    for measure in (CosineSimilaritySensitivity(), MseSensitivity(), MseSensitivity(do_normalization=True)):
        assert measure.compare(data, data) > measure.compare(data, near) > measure.compare(data, far)
    assert CosineSimilaritySensitivity().compare(data * 0, data * 0) == 1


def refusal(desk: Path, evaluator: Any, **options: Any) -> DiagnosticError:
    with pytest.raises(DiagnosticError) as caught:
        calibrate(evaluator, desk, **options)
    assert not Path("record.txt").exists() and not Path("results").exists()
    return caught.value


def test_an_original_that_is_not_good_enough_is_refused(desk: Path) -> None:
    found = refusal(desk, Evaluator(allowed=-1.0))
    assert found.diagnostics[0].code == "AM958" and isinstance(found, ValueError)


def test_an_evaluator_that_runs_too_few_batches_is_refused(desk: Path) -> None:
    found = refusal(desk, Evaluator(allowed=1.0), cfg="batch_num: 2")
    assert found.diagnostics[0].code == "AM959" and "at least 2 batches" in str(found)


def test_what_is_no_evaluator_and_no_strategy_is_refused(desk: Path) -> None:
    assert isinstance(refusal(desk, object()), TypeError)
    assert "BinarySearch" in str(refusal(desk, Evaluator(1.0), strategy="BinarySerch"))
    assert isinstance(refusal(desk, Evaluator(1.0), sensitivity=3), TypeError)


def test_a_judgement_without_a_loss_is_refused(desk: Path) -> None:
    class Careless(Evaluator):
        def metric_eval(self, original_metric: Any, new_metric: Any) -> Any:
            return True

    assert refusal(desk, Careless(1.0)).diagnostics[0].code == "AM959"


def test_a_strategy_that_says_no_choice_is_refused(desk: Path) -> None:
    class Silent(BinarySearchStrategy):
        def update_quant_config(self, metric_eval: Any) -> Any:
            return {"stop_flag": False}

    assert refusal(desk, Evaluator(1e-9), strategy=Silent()).diagnostics[0].code == "AM959"
