"""The whole nets that the fuzzer damages: recorded from Caffe, of every age, and quantized ones."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from amctc.targets.caffe.target import CaffeTarget
from tests.nets import make_net
from tests.quantized import quantize, random_feeds
from tests.runtime.test_recurrent_layers import net, random_inputs, with_everything
from tests.shared_files import GOLDEN, ROOT
from tests.targets.test_caffe_target import ALL

FOLDERS = ("caffe/layers", "caffe/legacy", "caffe/nets", "caffe/rules", "caffe_fork/layers")
OLD = """\
layers {
  layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 pad: 1 stride: 1 group: 1 biasterm: true }
  bottom: "data" top: "c"
}
layers { layer { name: "p" type: "padding" pad: 1 } bottom: "c" top: "p" }
layers { layer { name: "c2" type: "conv" num_output: 2 kernelsize: 3 } bottom: "p" top: "c2" }
layers { layer { name: "n" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.75 } bottom: "c2" top: "n" }
layers { layer { name: "m" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "n" top: "m" }
layers { layer { name: "f" type: "innerproduct" num_output: 3 } bottom: "m" top: "f" }
layers { layer { name: "s" type: "softmax" } bottom: "f" top: "s" }
"""
"""A V0 net, for where the recorded ones are absent."""
V1 = """\
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
         convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "constant" value: 0.5 } } }
layers { name: "r" type: RELU bottom: "c" top: "c" relu_param { negative_slope: 0.1 } }
layers { name: "d" type: SLICE bottom: "c" top: "d" top: "e" slice_param { slice_dim: 1 slice_point: 1 } }
layers { name: "j" type: CONCAT bottom: "e" bottom: "d" top: "j" concat_param { concat_dim: 1 } }
layers { name: "w" type: POWER bottom: "j" top: "w" power_param { power: 2 scale: 0.5 shift: 1 } }
layers { name: "f" type: INNER_PRODUCT bottom: "w" top: "f" inner_product_param { num_output: 3 } }
layers { name: "a" type: ARGMAX bottom: "f" top: "a" argmax_param { top_k: 2 } }
"""
_INPUT = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 6\n'


@dataclass(frozen=True)
class Sample:
    """A prototxt and, where it has weights, its caffemodel."""

    name: str
    text: str
    weights: bytes | None
    quantized: bool = False


@cache
def samples() -> Sequence[Sequence[Sample]]:
    """The samples in families, so that a large one does not crowd out the others."""
    example = _read(ROOT / "examples/digits/digits.prototxt")
    recorded = [list(_recorded(folder)) for folder in FOLDERS]
    with tempfile.TemporaryDirectory() as folder:
        quantized = list(_quantized(Path(folder)))
    own = [example, Sample("v0", _INPUT + OLD, None), Sample("v1", _INPUT + V1, None)]
    return [family for family in (own, quantized, *recorded) if family]


def _recorded(folder: str) -> Iterator[Sample]:
    for prototxt in sorted((GOLDEN / folder).glob("*.prototxt")):
        if "solver" not in prototxt.stem:
            yield _read(prototxt)


def _read(prototxt: Path) -> Sample:
    caffemodel = prototxt.with_suffix(".caffemodel")
    weights = caffemodel.read_bytes() if caffemodel.is_file() else None
    return Sample(prototxt.stem, prototxt.read_text(encoding="utf-8"), weights)


def _quantized(folder: Path) -> Iterator[Sample]:
    """Deploy and fake-quant models of a net of every kind of layer, and of recurrent ones."""
    recurrent = (with_everything("LSTM"), net("GRU"))
    for number, text in enumerate((ALL, *recurrent)):
        graph = make_net(folder, text)
        feeds = random_inputs(graph) if text in recurrent else random_feeds(graph, 1)[0]
        files = CaffeTarget().emit(quantize(graph, [feeds]))
        for kind in ("deploy", "fake_quant"):
            prototxt = files[f"{kind}_model.prototxt"].decode()
            yield Sample(f"{kind} {number}", prototxt, files[f"{kind}_weights.caffemodel"], True)
