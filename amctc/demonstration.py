"""`amctc demo`: the embedded example, from the float model to numbers a user can judge."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from amctc import driver
from amctc.frontends import load_model
from amctc.ir import Node, NodeQuant
from amctc.runtime.comparison import layer_agreement
from amctc.runtime.labels import Labels
from amctc.terminal import progress, say, table


def run_demo(output: Path | None = None) -> None:
    """Compile the digits network, score float, fake-quant and deploy, and print what was done to each layer."""
    with as_file(files("amctc.demo")) as folder, tempfile.TemporaryDirectory() as scratch:
        _demonstrate(Path(folder), output or Path(scratch))
        if output is None:
            say("\nthe files were written to a temporary folder; `amctc demo --output FOLDER` keeps them")


def _demonstrate(example: Path, output: Path) -> None:
    model, weights, data = example / "digits.prototxt", example / "digits.caffemodel", example / "digits.npz"
    begin = time.perf_counter()
    result = driver.compile(
        model,
        weights,
        policy=example / "policy.cfg",
        data=example / "calibration.npz",
        output=output / "digits",
        batch_size=32,
        progress=progress(),
    )
    seconds = time.perf_counter() - begin
    written = {path.name: path for path in result.files}
    deploy = written["digits_deploy_model.prototxt"], written["digits_deploy_weights.caffemodel"]
    fake = written["digits_fake_quant_model.prototxt"], written["digits_fake_quant_weights.caffemodel"]

    say(f"digits: compiled in {seconds:.2f} s\n")
    rows = []
    for name, files_of in (("float", (model, weights)), ("fake quant", fake), ("deploy", deploy)):
        score = _score(*files_of, data)
        rows.append((name, f"{score['top1']:.4f}", f"{files_of[1].stat().st_size / 1024:.1f}"))
    table(["model", "top-1", "weights in KiB"], rows)

    original = load_model(model, weights)
    calibration = driver.open_dataset(original, example / "calibration.npz")
    agreed = layer_agreement(original, result.graph, calibration.batches(32))
    say("")
    table(
        ["layer", "type", "data scale", "offset", "weights", "agrees (SQNR in dB)"],
        [_row(layer.node, layer.node.quant, layer.sqnr) for layer in agreed if layer.node.quant is not None],
    )


def _row(node: Node, quant: NodeQuant, sqnr: float) -> tuple[str, ...]:
    scales = " ".join(f"{given.scale:.4g}" for given in quant.inputs)
    offsets = " ".join(str(given.offset) for given in quant.inputs)
    weight = quant.weight
    weights = "-"
    if weight is not None and weight.scales:
        count = sum(scale.size for scale in weight.scales.values())
        weights = f"{weight.bits} bits, {count} scale{'s' if count > 1 else ''}"
    return node.name, node.type, scales, offsets, weights, f"{sqnr:.1f}"


def _score(model: Path, weights: Path, data: Path) -> Mapping[str, float]:
    graph = load_model(model, weights)
    dataset = driver.open_dataset(graph, data)
    return driver.evaluate(graph, dataset, Labels.open("label", dataset), batch_size=60).to_json()
