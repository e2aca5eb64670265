"""Calibration that leaves as many layers float as the accuracy needs: accuracy_based_auto_calibration."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from torch import nn

from amctc.compat import arguments
from amctc.compat.amct_pytorch.balance import wanted_balances
from amctc.compat.amct_pytorch.calibration import begin, quantize_model, read_config
from amctc.compat.amct_pytorch.common.auto_calibration import (
    ROLL_BACK_CONFIG,
    STOP_FLAG,
    AutoCalibrationEvaluatorBase,
    AutoCalibrationStrategyBase,
    BinarySearchStrategy,
    CosineSimilaritySensitivity,
    Judgement,
    SensitivityBase,
)
from amctc.compat.amct_pytorch.log import log, told_as_amct
from amctc.compat.amct_pytorch.network import Network
from amctc.compat.amct_pytorch.plan import Plan, Rewriting
from amctc.compat.amct_pytorch.preprocessing import quantize_preprocess
from amctc.compat.amct_pytorch.saving import save_model
from amctc.diagnostics import error
from amctc.modules.fake_quantized import DataGrid, compare_layers, quantize_data
from amctc.modules.weights import take_weights
from amctc.modules.wrapped import Wrapped
from amctc.output import write_files
from amctc.records.read_record import read_record
from amctc.records.scale_record import InputRecord

_NAME: Final = "accuracy_based_auto_calibration"
_HISTORY: Final = Path("amct_log", f"{_NAME}_record.json")

_MOST_TRIALS: Final = 1000
"""After so many a strategy is taken to have no end; a binary search makes 11 for a thousand layers."""


@told_as_amct
def accuracy_based_auto_calibration(
    model: nn.Module,
    model_evaluator: AutoCalibrationEvaluatorBase,
    config_file: str,
    record_file: str,
    save_dir: str,
    input_data: Any,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str] | Sequence[int]] | None = None,
    strategy: str | AutoCalibrationStrategyBase = "BinarySearch",
    sensitivity: str | SensitivityBase = "CosineSimilarity",
) -> None:
    """Quantize a module, and let its most sensitive layers stay float until the evaluator finds it good enough.

    Every choice is calibrated anew by `model_evaluator.calibration`, and judged as the module that simulates it. Writes
    what `save_model` writes at `save_dir`, the record, and beside the models the sensitivity of the layers
    (`…ranking_information.json`) and the config of the choice (`…final_config.json`); `amct_log` gets every trial.
    Where no layer may be quantized no model is written. Raises ValueError where the original model is not good enough
    itself, and RuntimeError where the evaluator or the strategy does not keep to what their base classes say.
    """
    evaluator = _instance("model_evaluator", model_evaluator, AutoCalibrationEvaluatorBase)
    config = arguments.path("config_file", config_file)
    record = Path(arguments.path("record_file", record_file)).absolute()
    prefix = arguments.prefix("save_dir", save_dir)
    choosing = _chosen("strategy", strategy, "BinarySearch", BinarySearchStrategy, AutoCalibrationStrategyBase)
    measure = _chosen("sensitivity", sensitivity, "CosineSimilarity", CosineSimilaritySensitivity, SensitivityBase)
    network = Network.of(model, input_data, input_names, output_names, dynamic_axes)
    read_config(config, network)
    options = {"input_names": input_names, "output_names": output_names, "dynamic_axes": dynamic_axes}
    settings: dict[str, Any] = json.loads(Path(config).read_text())
    with TemporaryDirectory() as folder:
        trials = _Trials(network, evaluator, settings, Path(folder), input_data, options)
        first = trials.judge({})
        found, ranking = (first, None) if first.good else _search(trials, first, choosing, measure)
        _save(trials, found, ranking, record, prefix)


@dataclass(frozen=True)
class _Trial:
    """A choice of layers that stay float, and how it was judged; `quantized` unless it is all of them."""

    number: int
    float_layers: tuple[str, ...]
    judgement: Judgement
    quantized: bool = True

    @property
    def good(self) -> bool:
        return self.judgement[0]


class _Trials:
    """What can be tried of one module, and what has been."""

    def __init__(
        self,
        network: Network,
        evaluator: AutoCalibrationEvaluatorBase,
        settings: Mapping[str, Any],
        folder: Path,
        example: Any,
        options: Mapping[str, Any],
    ) -> None:
        self.network, self.evaluator, self.settings, self.folder = network, evaluator, settings, folder
        self._example, self._options = example, options
        self.done: list[_Trial] = []
        with torch.no_grad():
            self._original = evaluator.evaluate(copy.deepcopy(network.module).eval())
        good, _ = self._judged(self._original)
        if not good:
            help = "let `metric_eval` allow a loss of 0: no choice of layers can do better than the original"
            raise error("AM958", "the evaluator finds the original model itself not good enough", help=help)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the config quantizes."""
        return tuple(name for name in self.network.quantizable if self.settings[name]["quant_enable"])

    def path(self, number: int, name: str) -> Path:
        return self.folder / f"{number}_{name}"

    def judge(self, quantized: Mapping[str, bool]) -> _Trial:
        """Calibrate and evaluate with all layers quantized but those for which False is said."""
        stay = tuple(name for name in self.layers if not quantized.get(name, True))
        for trial in self.done:
            if trial.float_layers == stay:
                return trial
        number = len(self.done)
        if len(stay) == len(self.layers):
            trial = _Trial(number, stay, self._judged(self._original), quantized=False)
        else:
            with torch.no_grad():
                metric = self.evaluator.evaluate(self.quantized(number, stay))
            trial = _Trial(number, stay, self._judged(metric))
        self.done.append(trial)
        log.info(_NAME, f"with {len(stay)} of {len(self.layers)} layers float: {_told(trial.judgement)}")
        return trial

    def quantized(self, number: int, stay: Sequence[str]) -> nn.Module:
        """The module that simulates a choice; its files are written under its number."""
        config, record = str(self.path(number, "config.json")), str(self.path(number, "record.txt"))
        modified = str(self.path(number, "modified.onnx"))
        off = {name: {**self.settings[name], "quant_enable": False} for name in stay}
        Path(config).write_text(json.dumps({**self.settings, **off}))
        module = self.network.module
        with torch.no_grad():
            if wanted_balances(read_config(config, self.network)):
                self.evaluator.calibration(quantize_preprocess(config, record, module, self._example))
            model = quantize_model(config, modified, record, module, self._example, **self._options)
            self.evaluator.calibration(model)
        watched = [name for name, each in model.named_modules() if isinstance(each, Wrapped)]
        layers = {layer: name for layer, name in self.network.layers.items() if name in watched}
        grids = {layer.name: _grid(layer.inputs[0]) for layer in read_record(Path(record)).layers if layer.inputs}
        if missing := [layer for layer in layers if layer not in grids]:
            message = f"`calibration` of the evaluator left no scale of the data of layer `{missing[0]}`"
            help = f"let it call the model on at least {self.settings['batch_num']} batches, the config's `batch_num`"
            raise error("AM959", message, help=help)
        quantize_data(model, layers, grids)
        return model

    def sensitivities(self, measure: SensitivityBase) -> dict[str, float]:
        """How alike the outputs of each layer are, float and quantized, on the calibration data; ascending."""
        config = str(self.path(0, "config.json"))
        resolved = read_config(config, self.network)
        rewriting = Rewriting(lambda: begin(self.network, resolved))
        rewriting.run(Plan.of(resolved).fold)
        module = copy.deepcopy(self.network.module).eval()
        take_weights(module, rewriting.graph, self.network.layers)
        layers = {name: place for name, place in self.network.layers.items() if name in self.layers}
        likeness = compare_layers(module, self.quantized(0, ()), layers, measure.compare)
        with torch.no_grad():
            self.evaluator.calibration(module)
        return dict(sorted(likeness.means().items(), key=lambda item: item[1]))

    def _judged(self, metric: Any) -> Judgement:
        judgement: Any = self.evaluator.metric_eval(self._original, metric)
        if isinstance(judgement, tuple | list) and len(judgement) == 2:
            return bool(judgement[0]), float(judgement[1])
        help = "return two: whether the accuracy is good enough, and the loss"
        raise error("AM959", "`metric_eval` of the evaluator did not return a judgement and a loss", help=help)


def _search(
    trials: _Trials, first: _Trial, strategy: AutoCalibrationStrategyBase, measure: SensitivityBase
) -> tuple[_Trial, dict[str, float]]:
    ranking = trials.sensitivities(measure)
    strategy.initialize(dict(ranking))
    trial = first
    for _ in range(_MOST_TRIALS):
        answer: Any = strategy.update_quant_config(trial.judgement)
        choice = answer.get(ROLL_BACK_CONFIG) if isinstance(answer, Mapping) else None
        if not isinstance(choice, Mapping) or STOP_FLAG not in answer:
            help = f"return a dict with `{STOP_FLAG}`, and in `{ROLL_BACK_CONFIG}` a bool for each layer"
            raise error("AM959", "`update_quant_config` of the strategy did not return a choice of layers", help=help)
        trial = trials.judge({str(name): bool(each) for name, each in choice.items()})
        if answer[STOP_FLAG]:
            return trial, ranking
    message = f"the strategy has not come to an end after {_MOST_TRIALS} trials"
    raise error("AM959", message, help=f"let it set `{STOP_FLAG}`")


def _save(trials: _Trials, found: _Trial, ranking: Mapping[str, float] | None, record: Path, prefix: str) -> None:
    beside = Path(prefix).parent if not prefix.endswith("/") else Path(prefix)
    history = [{"float_layers": each.float_layers, "metric_eval": _plain(each.judgement)} for each in trials.done]
    files = {_HISTORY: _json(history)}
    if ranking is not None:
        files[beside / f"{_NAME}_ranking_information.json"] = _json({k: _finite(v) for k, v in ranking.items()})
    if not found.quantized:
        write_files(files)
        log.warning(_NAME, "no layer can be quantized at the accuracy asked for, and no model is written")
        return
    config = json.loads(trials.path(found.number, "config.json").read_text())
    files[beside / f"{_NAME}_final_config.json"] = _json(config)
    files[record] = trials.path(found.number, "record.txt").read_bytes()
    save_model(str(trials.path(found.number, "modified.onnx")), str(trials.path(found.number, "record.txt")), prefix)
    write_files(files)
    log.info(_NAME, f"quantized but for {len(found.float_layers)} layers: {_told(found.judgement)}")


def _grid(found: InputRecord) -> DataGrid:
    return DataGrid(found.scale or 1.0, found.offset or 0, found.bits)


def _instance(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return value
    given = type(value).__name__
    raise error("AM630", f"`{name}` is of type `{given}`, but must be derived from `{kind.__name__}`")


def _chosen(name: str, value: Any, word: str, usual: type, kind: type) -> Any:
    if not isinstance(value, str):
        return _instance(name, value, kind)
    arguments.word(name, value, (word,))
    return usual()


def _told(judgement: Judgement) -> str:
    good, loss = judgement
    return f"{'good enough' if good else 'not good enough'}, loss {loss:.6g}"


def _plain(judgement: Judgement) -> tuple[bool, float | None]:
    return judgement[0], _finite(judgement[1])


def _finite(number: float) -> float | None:
    """JSON has no word for what is not finite."""
    return number if math.isfinite(number) else None


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=4) + "\n").encode()
