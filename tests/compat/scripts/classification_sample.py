"""Quantize a classifier of images, in the manner of AMCT's ResNet-50 sample: a folder of images and their labels.

With `--record_file` the factors are the user's own, as in the sample of `convert_model`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

TMP = os.path.realpath("tmp")
BATCH_SIZE = 8


def parse_args() -> argparse.Namespace:
    """The arguments of the sample; the preprocessing is that of the network."""
    parser = argparse.ArgumentParser(description="classification sample")
    parser.add_argument("--model_name", default="ResNet20")
    parser.add_argument("--model_file", required=True)
    parser.add_argument("--weights_file", required=True)
    parser.add_argument("--images", required=True, help="a folder with image_label.txt in it")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--mean", type=float, nargs=3, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--bgr", action="store_true")
    parser.add_argument("--output", default="prob")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--caffe_dir", default=None)
    parser.add_argument("--cfg_define", default=None)
    parser.add_argument("--record_file", default=None)
    parser.add_argument("--pre_test", action="store_true")
    return parser.parse_args()


QUANT_ARGS = parse_args()
if QUANT_ARGS.caffe_dir is not None:
    sys.path.insert(0, os.path.join(QUANT_ARGS.caffe_dir, "python"))

import caffe  # type: ignore[import-not-found]  # noqa: E402
from hotwheels import amct_caffe as amct  # type: ignore[import-not-found]  # noqa: E402


def labelled_images() -> list[tuple[str, int]]:
    """The paths and labels that the folder's list names."""
    with open(os.path.join(QUANT_ARGS.images, "image_label.txt"), encoding="utf-8") as file:
        rows = [line.split() for line in file]
    return [(os.path.join(QUANT_ARGS.images, name), int(label)) for name, label in rows]


def batches(count: int) -> Iterator[tuple[Any, list[int]]]:
    """So many batches, prepared as the network wants them."""
    images = labelled_images()
    side = QUANT_ARGS.size
    transformer = caffe.io.Transformer({"data": (BATCH_SIZE, 3, side, side)})
    transformer.set_transpose("data", (2, 0, 1))
    if QUANT_ARGS.bgr:
        transformer.set_channel_swap("data", (2, 1, 0))
    transformer.set_raw_scale("data", 255)
    transformer.set_mean("data", np.array(QUANT_ARGS.mean))
    transformer.set_input_scale("data", QUANT_ARGS.scale)
    for start in range(0, count * BATCH_SIZE, BATCH_SIZE):
        chosen = images[start : start + BATCH_SIZE]
        data = [transformer.preprocess("data", caffe.io.load_image(path)) for path, _ in chosen]
        yield np.stack(data), [label for _, label in chosen]


def run_caffe_model(model_file: str, weights_file: str, iterations: int) -> None:
    """Top-1 and top-5 accuracy over so many batches."""
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    net.blobs["data"].reshape(BATCH_SIZE, 3, QUANT_ARGS.size, QUANT_ARGS.size)
    net.reshape()
    top1 = top5 = 0
    fed = []
    for data, labels in batches(iterations):
        fed.append(data)
        probs = net.forward(data=data)[QUANT_ARGS.output].reshape(BATCH_SIZE, -1)
        best = probs.argsort(axis=1)[:, -5:]
        top1 += sum(int(row[-1] == label) for row, label in zip(best, labels, strict=True))
        top5 += sum(int(label in row) for row, label in zip(best, labels, strict=True))
    print(f"******final top1:{top1 / (iterations * BATCH_SIZE)}")
    print(f"******final top5:{top5 / (iterations * BATCH_SIZE)}")
    # For whoever wants to feed the same to another program.
    np.savez(os.path.join(TMP, "batches.npz"), data=np.concatenate(fed).astype(np.float32))


def main(args: argparse.Namespace) -> None:
    """Quantize the network, or only run it."""
    os.makedirs(TMP, exist_ok=True)
    caffe.set_mode_cpu()
    if args.pre_test:
        run_caffe_model(args.model_file, args.weights_file, args.iterations)
        print(f"[AMCT][INFO]Run {args.model_name} without quantize success!")
        return
    if args.record_file is not None:
        result_path = os.path.join("results", "convert_results", args.model_name)
        amct.convert_model(args.model_file, args.weights_file, args.record_file, result_path)
    else:
        result_path = os.path.join("results", "calibration_results", args.model_name)
        calibrate(args, result_path)
    run_caffe_model(
        f"{result_path}_fake_quant_model.prototxt", f"{result_path}_fake_quant_weights.caffemodel", args.iterations
    )
    print(f"[AMCT][INFO]Run {args.model_name} with quantize success!")


def calibrate(args: argparse.Namespace, result_path: str) -> None:
    """Post-training quantization."""
    config_json_file = os.path.join(TMP, "config.json")
    batch_num = 2
    amct.create_quant_config(
        config_file=config_json_file,
        model_file=args.model_file,
        weights_file=args.weights_file,
        skip_layers=[],
        batch_num=batch_num,
        activation_offset=True,
        config_defination=args.cfg_define,
    )
    record = os.path.join(TMP, "scale_offset_record.txt")
    graph = amct.init(config_json_file, args.model_file, args.weights_file, record)
    modified_model_file = os.path.join(TMP, "modified_model.prototxt")
    modified_weights_file = os.path.join(TMP, "modified_model.caffemodel")
    amct.weights_quantize_model(graph, modified_model_file, modified_weights_file)
    amct.activation_quantize_model(graph, modified_model_file, modified_weights_file)
    run_caffe_model(modified_model_file, modified_weights_file, batch_num)
    os.replace(os.path.join(TMP, "batches.npz"), os.path.join(TMP, "calibration.npz"))
    amct.save_model(graph, "Both", result_path)


if __name__ == "__main__":
    main(QUANT_ARGS)
