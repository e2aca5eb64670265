"""Accuracy on real networks: float, fake-quant and deploy, calibrated on 32 samples and scored on all others."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from networks import ASSETS, CALIBRATION, Classifier, classifiers
from numpy.typing import NDArray
from PIL import Image

from amctc import driver
from amctc.frontends import load_model
from amctc.runtime.executor import Executor
from amctc.runtime.labels import Labels
from amctc.runtime.metrics import psnr_db

BATCH = 8
POLICY = f"batch_num: {CALIBRATION // BATCH}\n"


def score(network: Classifier, model: Path, weights: Path) -> tuple[float, float, int]:
    """Top-1, top-5 and the number of samples, without those that calibrate."""
    graph = load_model(model, weights)
    dataset = driver.open_dataset(graph, network.data, network.preprocess)
    labels = Labels.open(network.labels, dataset)
    rest = dataset.select(CALIBRATION, len(dataset))
    found = driver.evaluate(graph, rest, labels.select(CALIBRATION, len(dataset)), batch_size=BATCH)
    return found.top1, found.top5, found.count


def bench_classifier(network: Classifier, scratch: Path) -> None:
    policy = scratch / "policy.cfg"
    policy.write_text(POLICY)
    result = driver.compile(
        network.model,
        network.weights,
        policy=policy,
        data=network.data,
        preprocess=network.preprocess,
        batch_size=BATCH,
        output=scratch / network.name,
    )
    files = {path.name.removeprefix(f"{network.name}_"): path for path in result.files}
    models = {
        "float": (network.model, network.weights),
        "fake quant": (files["fake_quant_model.prototxt"], files["fake_quant_weights.caffemodel"]),
        "deploy": (files["deploy_model.prototxt"], files["deploy_weights.caffemodel"]),
    }
    reference = 0.0
    for kind, (model, weights) in models.items():
        top1, top5, count = score(network, model, weights)
        reference = top1 if kind == "float" else reference
        print(
            f"{network.name:18} {kind:11} top-1 {100 * top1:6.2f}  top-5 {100 * top5:6.2f}  "
            f"top-1 against float {100 * (top1 - reference):+.2f} points  ({count} samples)"
        )


def crops(count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre crops of 224x224 pixels, and the 2x smaller images padded by 8 as the network wants them."""
    large, small = [], []
    for path in sorted((ASSETS / "data/imagenet").glob("*.JPEG"))[:count]:
        image = Image.open(path).convert("RGB")
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        crop = image.crop((left, top, left + 224, top + 224))
        low = np.asarray(crop.resize((112, 112), Image.Resampling.BICUBIC), np.float32) / 255
        padded = np.pad(low, ((8, 8), (8, 8), (0, 0)), mode="edge")
        large.append((np.asarray(crop, np.float32) / 255).transpose(2, 0, 1))
        small.append(padded.transpose(2, 0, 1))
    return np.stack(large), np.stack(small)


def bench_waifu2x(scratch: Path) -> None:
    folder = ASSETS / "caffe/waifu2x_upconv7"
    large, small = crops(CALIBRATION + 25)
    data = scratch / "waifu2x.npz"
    np.savez(data, input=small)
    policy = scratch / "policy.cfg"
    policy.write_text(POLICY)
    source = folder / "deploy.prototxt", folder / "scale2.0x.caffemodel"
    result = driver.compile(*source, policy=policy, data=data, batch_size=BATCH, output=scratch / "waifu2x")
    files = {path.name.removeprefix("waifu2x_"): path for path in result.files}
    models = {
        "float": source,
        "fake quant": (files["fake_quant_model.prototxt"], files["fake_quant_weights.caffemodel"]),
        "deploy": (files["deploy_model.prototxt"], files["deploy_weights.caffemodel"]),
    }
    reference = 0.0
    for kind, (model, weights) in models.items():
        graph = load_model(model, weights)
        executor = Executor(graph)
        ratios = []
        for index in range(CALIBRATION, CALIBRATION + 25):
            (made,) = executor.run({"input": small[index : index + 1]}).values()
            ratios.append(psnr_db(large[index], np.clip(made[0, :, 4:-4, 4:-4], 0, 1), peak=1.0))
        mean = float(np.mean(ratios))
        reference = mean if kind == "float" else reference
        print(f"{'waifu2x':18} {kind:11} {mean:.3f} dB  against float {mean - reference:+.3f} dB  (25 images)")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for network in classifiers(scratch):
            bench_classifier(network, scratch)
        bench_waifu2x(scratch)


if __name__ == "__main__":
    main()
