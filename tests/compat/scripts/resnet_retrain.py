"""Train a residual network with quantization, in the manner of AMCT's ResNet-50 sample.

The model has Data layers for both phases; the arguments say their data bases and batches. The solver is written by way
of caffe_pb2, its only test comes after the training and writes the factors, and the deploy model is made one that a
converter takes: an Input layer in place of the Data layer, and no Accuracy and no loss.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

TMP = os.path.join(os.getcwd(), "tmp")
RESULT = os.path.join(os.getcwd(), "results", "retrain_results")


def parse_args() -> argparse.Namespace:
    """The arguments of the sample."""
    parser = argparse.ArgumentParser(description="retrain sample")
    parser.add_argument("--model_file", required=True)
    parser.add_argument("--weights_file", required=True)
    parser.add_argument("--gpu", dest="gpu_id", type=int, default=None)
    parser.add_argument("--cpu", dest="cpu_mode", action="store_true")
    parser.add_argument("--caffe_dir", required=True)
    parser.add_argument("--train_data", required=True)
    parser.add_argument("--test_data", required=True)
    parser.add_argument("--train_batch", type=int, default=32)
    parser.add_argument("--train_iter", type=int, default=1000)
    parser.add_argument("--test_batch", type=int, default=1)
    parser.add_argument("--test_iter", type=int, default=500)
    return parser.parse_args()


args = parse_args()
sys.path.insert(0, os.path.join(args.caffe_dir, "python"))

import caffe  # type: ignore[import-not-found]  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from hotwheels.amct_caffe import amct  # type: ignore[import-not-found]  # noqa: E402


def read_net(path: str) -> Any:
    net = caffe.proto.caffe_pb2.NetParameter()
    text_format.Merge(Path(path).read_text(encoding="utf-8"), net)
    return net


def with_data(model_file: str, target: str) -> str:
    """The model on the data bases of the arguments."""
    net = read_net(model_file)
    of_phase = {caffe.TRAIN: (args.train_data, args.train_batch), caffe.TEST: (args.test_data, args.test_batch)}
    for layer in net.layer:
        if layer.type == "Data":
            layer.data_param.source, layer.data_param.batch_size = of_phase[layer.include[0].phase]
    Path(target).write_text(text_format.MessageToString(net), encoding="utf-8")
    return target


def train(model_file: str, weights_file: str, solver_file: str) -> None:
    """Train to the end; the last iteration is followed by the one test, and the snapshot."""
    s = caffe.proto.caffe_pb2.SolverParameter()
    s.net = model_file
    s.lr_policy = "step"
    s.base_lr = 0.0001
    s.stepsize = 10
    s.gamma = 0.1
    s.momentum = 0.9
    s.weight_decay = 0.0001
    s.test_initialization = False
    s.max_iter = args.train_iter
    s.test_interval = args.train_iter
    s.test_iter[:] = [args.test_iter]
    s.snapshot = args.train_iter
    with open(solver_file, "w", encoding="utf-8") as file:
        file.write(str(s))
    solver = caffe.SGDSolver(solver_file)
    solver.net.copy_from(weights_file)
    solver.solve()


def to_atc(deploy_file: str, target: str) -> None:
    """The deploy model without what a converter does not take."""
    net = read_net(deploy_file)
    for layer in list(net.layer):
        if layer.type in ("Accuracy", "SoftmaxWithLoss"):
            net.layer.remove(layer)
        elif layer.type == "Data":
            layer.CopyFrom(caffe.proto.caffe_pb2.LayerParameter(name=layer.name, type="Input", top=["data"]))
            layer.input_param.shape.add().dim.extend([1, 1, 8, 8])
    Path(target).write_text(text_format.MessageToString(net), encoding="utf-8")


def accuracy(model_file: str, weights_file: str) -> float:
    """The share of digits that a model tells right; it reads what phase TEST reads."""
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    right = 0
    for _ in range(args.test_iter):
        scores = net.forward()["fc"]
        right += int((scores.argmax(axis=1) == net.blobs["label"].data).sum())
    return float(right / (args.test_iter * args.test_batch))


def main() -> None:
    """Config, model, training, saving, scoring."""
    caffe.set_mode_cpu()
    if args.gpu_id is not None and not args.cpu_mode:
        caffe.set_mode_gpu()
        caffe.set_device(args.gpu_id)
        amct.set_gpu_mode()
    os.makedirs(TMP, exist_ok=True)
    os.makedirs(RESULT, exist_ok=True)
    model_file = with_data(args.model_file, os.path.join(TMP, "model.prototxt"))
    config_json_file = os.path.join(TMP, "config.json")
    amct.create_quant_retrain_config(config_json_file, model_file, args.weights_file)

    modified_model_file = os.path.join(TMP, "modified_model.prototxt")
    modified_weights_file = os.path.join(TMP, "modified_model.caffemodel")
    scale_offset_record_file = os.path.join(TMP, "record.txt")
    amct.create_quant_retrain_model(
        model_file,
        args.weights_file,
        config_json_file,
        modified_model_file,
        modified_weights_file,
        scale_offset_record_file,
    )
    train(modified_model_file, modified_weights_file, os.path.join(TMP, "solver.prototxt"))

    retrained_weights_file = os.path.join(TMP, f"solver_iter_{args.train_iter}.caffemodel")
    save_path = os.path.join(RESULT, "retrain")
    amct.save_quant_retrain_model(
        modified_model_file,
        retrained_weights_file,
        "Both",
        save_path,
        scale_offset_record_file,
        config_json_file,
    )
    to_atc(f"{save_path}_deploy_model.prototxt", f"{save_path}_atc_model.prototxt")
    top1 = accuracy(f"{save_path}_fake_quant_model.prototxt", f"{save_path}_fake_quant_weights.caffemodel")
    print(f"Top 1 accuracy = {top1:.3f}")


if __name__ == "__main__":
    main()
