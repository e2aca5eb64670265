"""Post-training quantization as AMCT's template does it: the parts to change are the settings and `run_caffe_model`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import caffe  # type: ignore[import-not-found]
import hotwheels.amct_caffe as amct  # type: ignore[import-not-found]
import numpy as np


class Args:
    """The settings, from the command line: model, weights, data, and a .cfg file if there is one."""

    def __init__(self) -> None:
        self.model_name = "digits"
        self.model_file, self.weights_file, self.data_file, *more = sys.argv[1:]
        self.pre_test = "--pre_test" in more
        self.cfg_define = next((word for word in more if word.endswith(".cfg")), None)
        self.gpu_id = 0 if "--gpu" in more else None
        self.cpu_mode = "--gpu" not in more
        self.iterations = 2


def get_data(count: int, size: int) -> Iterator[Any]:
    """Batches of the size that the network has."""
    with np.load(args.data_file) as file:
        samples = file["data"]
    for start in range(0, count * size, size):
        yield samples[start : start + size]


def run_caffe_model(model_file: str, weights_file: str, iterations: int) -> None:
    """Run so many batches through a network."""
    net = caffe.Net(model_file, weights_file, caffe.TEST)
    for data in get_data(iterations, net.blobs["data"].data.shape[0]):
        forward_kwargs = {"data": data}
        blobs_out = net.forward(**forward_kwargs)
        print("sum of the first output:", float(blobs_out["prob"][0].sum()))


def main() -> None:
    """Quantize the network."""
    if args.gpu_id is not None and not args.cpu_mode:
        caffe.set_mode_gpu()
        caffe.set_device(args.gpu_id)
        amct.set_gpu_mode()
    else:
        caffe.set_mode_cpu()

    if args.pre_test:
        run_caffe_model(args.model_file, args.weights_file, args.iterations)
        print(f"[INFO]Run {args.model_name} without quantize success!")
        return

    config_json_file = "tmp/config.json"
    batch_num = 2
    if args.cfg_define is not None:
        amct.create_quant_config(
            config_json_file, args.model_file, args.weights_file, config_defination=args.cfg_define
        )
    else:
        amct.create_quant_config(config_json_file, args.model_file, args.weights_file, batch_num)

    scale_offset_record_file = "tmp/scale_offset_record.txt"
    graph = amct.init(config_json_file, args.model_file, args.weights_file, scale_offset_record_file)

    modified_model_file = "tmp/modified_model.prototxt"
    modified_weights_file = "tmp/modified_model.caffemodel"
    amct.weights_quantize_model(graph, modified_model_file, modified_weights_file)
    amct.activation_quantize_model(graph, modified_model_file, modified_weights_file)

    run_caffe_model(modified_model_file, modified_weights_file, batch_num)

    result_path = f"results/{args.model_name}"
    amct.save_model(graph, "Both", result_path)

    fake_quant_model = f"results/{args.model_name}_fake_quant_model.prototxt"
    fake_quant_weights = f"results/{args.model_name}_fake_quant_weights.caffemodel"
    run_caffe_model(fake_quant_model, fake_quant_weights, args.iterations)


args = Args()
if __name__ == "__main__":
    main()
