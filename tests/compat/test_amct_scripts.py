"""The manual's flows, as scripts for `caffe` and `hotwheels.amct_caffe`, leave what `amctc compile` writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compat.running import SAVED, SCRIPTS, compiled, digits, run_script, saved, stand_in
from tests.shared_files import ASSETS, needs_assets

SERVED = pytest.mark.parametrize("served", [True, False], ids=["python -m amctc.compat", "caffe-dir"])


def use(served: bool, folder: Path) -> dict[str, str]:
    """How a script that is told nothing of Caffe's folder finds the stand-in: by PYTHONPATH."""
    return {} if served else {"PYTHONPATH": str(stand_in(folder / "caffe") / "python")}


@SERVED
def test_the_template_gives_what_compile_gives(tmp_path: Path, served: bool) -> None:
    model, weights, data = digits(tmp_path)
    script = SCRIPTS / "calibration_template.py"
    done = run_script(script, model, weights, data, cwd=tmp_path, served=served, env=use(served, tmp_path))
    wanted = compiled(model, weights, data, tmp_path / "tmp/config.json", tmp_path / "wanted/digits")
    found = saved(tmp_path / "results/digits")
    assert sorted(found) == sorted(SAVED)
    assert {name: wanted[name] for name in SAVED} == found
    assert (tmp_path / "tmp/scale_offset_record.txt").read_bytes() == wanted["scale_offset_record.txt"]
    assert 'Do layer:"conv1" activation calibration success!' in done.stderr
    log = (tmp_path / "amct_log/amct_caffe.log").read_text(encoding="utf-8")
    assert re.search(r"^[-\d]+ [:\d]+,\d+ - INFO - \[AMCT\]:\[Optimizer\]: Do quantize-weights$", log, re.MULTILINE)


def test_the_template_with_a_cfg_file_gives_what_compile_gives(tmp_path: Path) -> None:
    model, weights, data = digits(tmp_path)
    policy = tmp_path / "policy.cfg"
    run_script(SCRIPTS / "calibration_template.py", model, weights, data, policy, cwd=tmp_path)
    wanted = compiled(model, weights, data, policy, tmp_path / "wanted/digits")
    assert {name: wanted[name] for name in SAVED} == saved(tmp_path / "results/digits")


def test_the_pre_test_of_the_template_only_runs_the_float_model(tmp_path: Path) -> None:
    model, weights, data = digits(tmp_path)
    done = run_script(SCRIPTS / "calibration_template.py", model, weights, data, "--pre_test", cwd=tmp_path)
    assert "[INFO]Run digits without quantize success!" in done.stdout
    assert not (tmp_path / "results").exists()


def test_a_gpu_that_is_not_there_is_told_and_does_not_matter(tmp_path: Path) -> None:
    from amctc.runtime.providers import has_gpu

    if has_gpu():
        pytest.skip("this ONNX Runtime can use a GPU")
    model, weights, data = digits(tmp_path)
    done = run_script(SCRIPTS / "calibration_template.py", model, weights, data, "--gpu", cwd=tmp_path)
    assert "WARNING - [AMCT]:[set_gpu_mode]: the installed ONNX Runtime has no CUDA provider" in done.stderr
    assert sorted(saved(tmp_path / "results/digits")) == sorted(SAVED)


def lenet(folder: Path) -> tuple[Path, Path]:
    """LeNet with batches of 32 digits: model and weights."""
    files = ASSETS / "caffe/mnist_lenet"
    text = (files / "deploy.prototxt").read_text(encoding="utf-8")
    model = folder / "mnist-deploy.prototxt"
    model.write_text(text.replace("dim: 1 dim: 1 dim: 28", "dim: 32 dim: 1 dim: 28"), encoding="utf-8")
    return model, files / "lenet_iter_10000.caffemodel"


@needs_assets
@SERVED
def test_the_mnist_flow_tells_both_accuracies(tmp_path: Path, served: bool) -> None:
    model, weights = lenet(tmp_path)
    data = ASSETS / "data/mnist_t10k.npz"
    arguments: list[str | Path] = ["--model_file", model, "--weights_file", weights, "--data", data, "--cpu"]
    folder = stand_in(tmp_path / "caffe")
    script = SCRIPTS / "mnist_sample.py"
    done = run_script(script, *arguments, "--caffe_dir", folder, cwd=tmp_path, served=served)
    told = re.search(r"mnist top1 before quantize is ([\d.]+), after quantize is ([\d.]+)\n", done.stdout)
    assert told is not None and "[AMCT][INFO]Run mnist sample with quantize success!" in done.stdout
    before, after = map(float, told.groups())
    assert before > 0.97 and abs(before - after) <= 1 / 128

    with np.load(data) as file:
        images = file["images"][:64, np.newaxis].astype(np.float32) * np.float32(0.00390625)
    np.savez(tmp_path / "calibration.npz", data=images)
    config = tmp_path / "tmp/config.json"
    wanted = compiled(model, weights, tmp_path / "calibration.npz", config, tmp_path / "wanted/mnist")
    assert {name: wanted[name] for name in SAVED} == saved(tmp_path / "results/mnist")


@needs_assets
def test_the_mnist_flow_reads_a_data_base(tmp_path: Path) -> None:
    lmdb: Any = pytest.importorskip("lmdb")
    from amctc.compat import caffe

    model, weights = lenet(tmp_path)
    with np.load(ASSETS / "data/mnist_t10k.npz") as file:
        images, labels = file["images"][:128], file["labels"][:128]
    np.savez(tmp_path / "some.npz", images=images, labels=labels)
    base = str(tmp_path / "mnist_test_lmdb")
    with lmdb.open(base, map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            datum = caffe.io.array_to_datum(image[np.newaxis], int(label))
            transaction.put(f"{number:08}".encode(), datum.SerializeToString())
    told: list[str] = []
    for data in ("some.npz", "mnist_test_lmdb"):
        folder = stand_in(tmp_path / "caffe")
        arguments: list[str | Path] = ["--model_file", model, "--weights_file", weights, "--caffe_dir", folder]
        told.append(
            run_script(
                SCRIPTS / "mnist_sample.py", *arguments, "--iterations", "4", "--data", data, cwd=tmp_path
            ).stdout
        )
    assert "mnist top1 before quantize" in told[0] and told[0] == told[1]


def cifar_images(folder: Path, count: int) -> Path:
    """So many test images as PNG files, and the list of their labels."""
    from PIL import Image

    folder.mkdir()
    with np.load(ASSETS / "data/cifar10_test_rgb_1000.npz") as file:
        images, labels = file["images"], file["labels"]
    chosen = np.random.default_rng(0).permutation(len(images))[:count]
    rows = []
    for number, index in enumerate(chosen):
        Image.fromarray(images[index]).save(folder / f"{number}.png")
        rows.append(f"{number}.png {labels[index]}\n")
    (folder / "image_label.txt").write_text("".join(rows), encoding="utf-8")
    return folder


RESNET = (
    "--model_file", str(ASSETS / "caffe/cifar10_resnet20/deploy.prototxt"),
    "--weights_file", str(ASSETS / "caffe/cifar10_resnet20/resnet20.caffemodel"),
    "--size", "32", "--mean", "125.3", "122.9", "113.8", "--scale", "0.00390625",
)  # fmt: skip


@needs_assets
def test_the_flow_with_images_and_labels_gives_what_compile_gives(tmp_path: Path) -> None:
    images = cifar_images(tmp_path / "images", 32)
    script = SCRIPTS / "classification_sample.py"
    before = run_script(script, *RESNET, "--images", images, "--pre_test", cwd=tmp_path)
    assert "[AMCT][INFO]Run ResNet20 without quantize success!" in before.stdout
    after = run_script(script, *RESNET, "--images", images, cwd=tmp_path)
    assert "[AMCT][INFO]Run ResNet20 with quantize success!" in after.stdout
    top1 = [float(re.findall(r"final top1:([\d.]+)", done.stdout)[-1]) for done in (before, after)]
    assert top1[0] > 0.6 and abs(top1[0] - top1[1]) <= 0.1
    model, weights = Path(RESNET[1]), Path(RESNET[3])
    config, data = tmp_path / "tmp/config.json", tmp_path / "tmp/calibration.npz"
    wanted = compiled(model, weights, data, config, tmp_path / "wanted/net", "--batch-size", "8")
    assert {name: wanted[name] for name in SAVED} == saved(tmp_path / "results/calibration_results/ResNet20")


@needs_assets
@SERVED
def test_the_flow_of_convert_model_gives_what_the_record_was_made_from(tmp_path: Path, served: bool) -> None:
    images = cifar_images(tmp_path / "images", 32)
    script = SCRIPTS / "classification_sample.py"
    model, weights = Path(RESNET[1]), Path(RESNET[3])
    run_script(script, *RESNET, "--images", images, "--pre_test", cwd=tmp_path)
    policy = tmp_path / "policy.cfg"
    policy.write_text("batch_num: 2\n", encoding="utf-8")
    batches = tmp_path / "tmp/batches.npz"
    wanted = compiled(model, weights, batches, policy, tmp_path / "wanted/ResNet20", "--batch-size", "8")
    record = tmp_path / "wanted/ResNet20_scale_offset_record.txt"
    more: list[str | Path] = ["--record_file", record]
    if not served:
        more += ["--caffe_dir", stand_in(tmp_path / "caffe")]
    done = run_script(script, *RESNET, "--images", images, *more, cwd=tmp_path, served=served)
    assert "[AMCT][INFO]Run ResNet20 with quantize success!" in done.stdout
    found = saved(tmp_path / "results/convert_results/ResNet20")
    assert {name: wanted[name] for name in SAVED} == found


@needs_assets
def test_the_flow_with_photographs_keeps_their_classes(tmp_path: Path) -> None:
    folder = ASSETS / "caffe/squeezenet_v1.0_dc"
    images = tmp_path / "images"
    images.mkdir()
    rows = (ASSETS / "data/imagenet_labels.csv").read_text(encoding="utf-8").splitlines()[1:17]
    lines = []
    for row in rows:
        name, label, *_ = row.split(",")
        (images / name).symlink_to(ASSETS / "data/imagenet" / name)
        lines.append(f"{name} {label}\n")
    (images / "image_label.txt").write_text("".join(lines), encoding="utf-8")
    done = run_script(
        SCRIPTS / "classification_sample.py",
        *("--model_name", "SqueezeNet", "--model_file", folder / "deploy.prototxt"),
        *("--weights_file", folder / "squeezenet_v1.0_dc.caffemodel", "--images", images, "--size", "227"),
        *("--mean", "104", "117", "123", "--bgr", "--output", "pool_final", "--iterations", "2"),
        cwd=tmp_path,
    )
    assert float(re.findall(r"final top5:([\d.]+)", done.stdout)[-1]) >= 0.6
    assert sorted(saved(tmp_path / "results/calibration_results/SqueezeNet")) == sorted(SAVED)


def test_too_few_batches_end_the_script_in_the_original_s_words(tmp_path: Path) -> None:
    model, weights, data = digits(tmp_path)
    script = tmp_path / "script.py"
    text = (SCRIPTS / "calibration_template.py").read_text(encoding="utf-8")
    short = text.replace("modified_weights_file, batch_num)\n\n    result", "modified_weights_file, 1)\n\n    result")
    assert short != text
    script.write_text(short, encoding="utf-8")
    done = run_script(script, model, weights, data, cwd=tmp_path, status=1)
    assert "\nRuntimeError: Cannot find scale_d of layer 'conv1' in record file [AM633]\n" in done.stderr
    assert "run the calibration model on 2 batches" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("level", "shown", "hidden"),
    [("Debug", "DEBUG", "nothing"), ("INFO", "INFO", "DEBUG"), ("error", "nothing", "INFO")],
)
def test_the_environment_says_what_is_logged(tmp_path: Path, level: str, shown: str, hidden: str) -> None:
    model, weights, data = digits(tmp_path)
    levels = {"AMCT_LOG_LEVEL": level, "AMCT_LOG_FILE_LEVEL": "Warning"}
    done = run_script(SCRIPTS / "calibration_template.py", model, weights, data, cwd=tmp_path, env=levels)
    lines = [line for line in done.stderr.splitlines() if " - [AMCT]:[" in line]
    assert (shown == "nothing") == (not any(f" - {shown} - " in line for line in lines) or not lines)
    assert not any(f" - {hidden} - " in line for line in lines)
    log = tmp_path / "amct_log/amct_caffe.log"
    assert not log.exists() or " - INFO - " not in log.read_text(encoding="utf-8")


def test_the_config_says_what_the_original_s_says(tmp_path: Path) -> None:
    model, weights, data = digits(tmp_path)
    run_script(SCRIPTS / "calibration_template.py", model, weights, data, cwd=tmp_path)
    config = json.loads((tmp_path / "tmp/config.json").read_text(encoding="utf-8"))
    assert list(config)[:5] == ["version", "batch_num", "activation_offset", "do_fusion", "skip_fusion_layers"]
    assert config["conv1"] == {
        "quant_enable": True,
        "activation_quant_params": {
            "num_bits": 8,
            "max_percentile": 0.999999,
            "min_percentile": 0.999999,
            "search_range": [0.7, 1.3],
            "search_step": 0.01,
        },
        "weight_quant_params": {"wts_algo": "arq_quantize", "channel_wise": True, "num_bits": 8},
    }
