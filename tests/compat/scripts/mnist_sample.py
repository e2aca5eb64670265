"""Quantize a network that reads digits, in the manner of AMCT's MNIST sample: float and quantized accuracy are told.

It is told where Caffe lies, tests for Caffe's files, and calls the functions of older versions.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

TMP = os.path.join(os.getcwd(), "tmp")
RESULT = os.path.join(os.getcwd(), "results")
BATCH_SIZE = 32
SCALE = 0.00390625
MODEL_INPUT_BLOB_NAME = "data"
MODEL_OUTPUT_BLOB_NAME = "loss"


def parse_args() -> argparse.Namespace:
    """The arguments of the sample."""
    parser = argparse.ArgumentParser(description="mnist sample")
    parser.add_argument("--model_file", required=True)
    parser.add_argument("--weights_file", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--gpu", dest="gpu_id", type=int, default=None)
    parser.add_argument("--cpu", dest="cpu_mode", action="store_true")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--caffe_dir", default=None)
    args = parser.parse_args()
    if args.caffe_dir is None:
        raise RuntimeError("Must specify a caffe framework dir")
    args.caffe_dir = os.path.realpath(args.caffe_dir)
    if not Path(args.caffe_dir, "build/tools/caffe").exists():
        raise RuntimeError("Must make caffe before execute demo")
    if not Path(args.caffe_dir, "python/caffe/pycaffe.py").exists():
        raise RuntimeError("Must make pycaffe before execute demo")
    if args.cpu_mode and args.gpu_id is not None:
        raise RuntimeError("Cannot run in CPU mode and GPU mode at same time.")
    return args


QUANT_ARGS = parse_args()
sys.path.insert(0, os.path.join(QUANT_ARGS.caffe_dir, "python"))

import amct_caffe as amct  # type: ignore[import-not-found]  # noqa: E402
import caffe  # type: ignore[import-not-found]  # noqa: E402


def read_lmdb(path: str) -> tuple[Any, Any]:
    """The images and labels of a data base as Caffe's tools write them."""
    import lmdb

    images, labels = [], []
    with lmdb.open(path, readonly=True, lock=False) as environment, environment.begin() as transaction:
        for _, value in transaction.cursor():
            datum = caffe.proto.caffe_pb2.Datum()
            datum.ParseFromString(value)
            images.append(caffe.io.datum_to_array(datum)[0])
            labels.append(datum.label)
    return np.stack(images), np.array(labels)


class Digits:
    """The images and labels, batch by batch from the first on."""

    def __init__(self, path: str) -> None:
        if os.path.isdir(path):
            self.images, self.labels = read_lmdb(path)
        else:
            with np.load(path) as file:
                self.images, self.labels = file["images"], file["labels"]
        self.at = 0

    def get_blobs(self, count: int) -> tuple[Any, Any]:
        images = self.images[self.at : self.at + count, np.newaxis].astype(np.float32) * np.float32(SCALE)
        labels = self.labels[self.at : self.at + count]
        self.at += count
        return images, labels


def do_benchmark_test(model_file: str, weights_file: str, iterations: int) -> float:
    """Accuracy over so many batches."""
    net = caffe.Net(os.path.realpath(model_file), os.path.realpath(weights_file), caffe.TEST)
    digits = Digits(QUANT_ARGS.data)
    top1_total = 0.0
    for index in range(iterations):
        data, labels = digits.get_blobs(BATCH_SIZE)
        blobs_out = net.forward(**{MODEL_INPUT_BLOB_NAME: data})
        top1 = float(np.mean(blobs_out[MODEL_OUTPUT_BLOB_NAME].argmax(axis=1) == labels))
        top1_total += top1
        print(f"*****************iteration:{index}******************")
        print(f"top1_acc:{top1}")
    print(f"******final top1:{top1_total / iterations}")
    return top1_total / iterations


def main(args: argparse.Namespace) -> None:
    """Score the network, quantize it, and score it again."""
    if args.gpu_id is not None and not args.cpu_mode:
        caffe.set_mode_gpu()
        caffe.set_device(args.gpu_id)
        amct.set_gpu_mode()
    else:
        caffe.set_mode_cpu()
    ori_top1 = do_benchmark_test(args.model_file, args.weights_file, args.iterations)

    config_json_file = os.path.join(TMP, "config.json")
    skip_layers: list[str] = []
    batch_num = 2
    amct.create_quant_config(config_json_file, args.model_file, args.weights_file, skip_layers, batch_num)

    scale_offset_record_file = os.path.join(TMP, "record.txt")
    graph = amct.init(config_json_file, args.model_file, args.weights_file, scale_offset_record_file)
    modified_model_file = os.path.join(TMP, "modified_model.prototxt")
    modified_weights_file = os.path.join(TMP, "modified_model.caffemodel")
    amct.quantize_model(graph, modified_model_file, modified_weights_file)
    do_benchmark_test(modified_model_file, modified_weights_file, batch_num)

    amct.save_model(graph, "Both", os.path.join(RESULT, "mnist"))
    fake_quant_model = os.path.join(RESULT, "mnist_fake_quant_model.prototxt")
    fake_quant_weights = os.path.join(RESULT, "mnist_fake_quant_weights.caffemodel")
    quant_top1 = do_benchmark_test(fake_quant_model, fake_quant_weights, args.iterations)
    print(f"[AMCT][INFO] mnist top1 before quantize is {ori_top1}, after quantize is {quant_top1}")
    print("[AMCT][INFO]Run mnist sample with quantize success!")


if __name__ == "__main__":
    main(QUANT_ARGS)
