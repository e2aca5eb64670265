"""Layers whose inputs mean something: sequences, boxes, labels; and those that bring data in."""

from __future__ import annotations

from collections.abc import Mapping

from amctc.ir.node import Shape
from tests.fuzz.pieces import Bench, Blob, Piece, Template

_ONE_IMAGE = (2, 4, 6, 6)


def _recurrent(states: int) -> Template:
    """LSTM, RNN or GRU: with a static input or not, with its states in and out or not."""

    def make(bench: Bench) -> Piece:
        x = bench.blob(lambda shape: len(shape) >= 3 and shape[0] <= 6, (3, 2, 4))
        time, streams = x.shape[:2]
        units, exposed = bench.between(1, 3), bench.pick(False, True)
        bottoms = [x, bench.input((time, streams), "flags")]
        if bench.pick(False, True):
            bottoms.append(bench.blob(lambda shape: len(shape) >= 2 and shape[0] == streams, (streams, 3)))
        if exposed:
            bottoms += [bench.input((1, streams, units)) for _ in range(states)]
        parameters = f"recurrent_param {{ num_output: {units} expose_hidden: {str(exposed).lower()} }}"
        return Piece(tuple(bottoms), parameters, 1 + states * exposed)

    return make


def _lstm_unit(bench: Bench) -> Piece:
    streams, units = bench.between(1, 3), bench.between(1, 3)
    shapes = ((1, streams, units), (1, streams, 4 * units))
    return Piece((*(bench.input(shape) for shape in shapes), bench.input((1, streams), "flags")), tops=2)


RECURRENT: Mapping[str, Template] = {
    "LSTM": _recurrent(2),
    "RNN": _recurrent(1),
    "GRU": _recurrent(1),
    "LSTMUnit": _lstm_unit,
}


def _prior_box(bench: Bench) -> Piece:
    more = bench.pick("", "max_size: 9 aspect_ratio: 2 flip: true", "clip: true variance: 0.1 step: 8")
    return Piece((bench.image(), bench.image()), f"prior_box_param {{ min_size: 4 {more} }}")


def _detections(parameter: str, settings: str) -> Template:
    def make(bench: Bench) -> Piece:
        count, priors, classes = bench.between(1, 2), bench.between(1, 4), bench.between(2, 3)
        boxes, scores = bench.input((count, priors * 4)), bench.input((count, priors * classes))
        prior = bench.input((1, 2, priors * 4), "priors")
        code = bench.pick("CORNER", "CENTER_SIZE", "CORNER_SIZE") if parameter == "detection_output_param" else 2
        tops = 1 if parameter == "detection_output_param" else bench.pick(1, 2)
        text = f"{parameter} {{ num_classes: {classes} code_type: {code} {settings} }}"
        return Piece((boxes, scores, prior), text, tops)

    return make


def _proposal(bench: Bench) -> Piece:
    count, height, width = bench.between(1, 2), bench.between(1, 3), bench.between(1, 3)
    scores, deltas = bench.input((count, 4, height, width)), bench.input((count, 8, height, width))
    settings = f"ratio: 1 scale: 8 scale: 16 min_size: 2 output_actual_rois_num: {bench.flag()}"
    return Piece((scores, deltas, bench.input((1, 3), "info")), f"proposal_param {{ {settings} }}", bench.pick(1, 2))


def _nms(bench: Bench) -> Piece:
    count = bench.between(1, 6)
    boxes, scores = bench.input((count, 4), "boxes"), bench.input((count,))
    return Piece((boxes, scores), bench.pick("", "nms_param { nms_threshold: 0.5 top_k: 3 }"), bench.pick(1, 2))


def _regions(bench: Bench, features: Blob) -> Blob:
    return bench.input((bench.between(1, 3), 5), f"regions{features.shape[0]}")


def _roi_pooling(bench: Bench) -> Piece:
    features = bench.image()
    return Piece(
        (features, _regions(bench, features)), "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"
    )


def _psroi_pooling(bench: Bench) -> Piece:
    features = bench.image(lambda shape: shape[1] % 4 == 0, _ONE_IMAGE)
    settings = f"spatial_scale: 0.5 group_size: 2 output_dim: {features.shape[1] // 4}"
    return Piece((features, _regions(bench, features)), f"psroi_pooling_param {{ {settings} }}")


def _roi_align(bench: Bench) -> Piece:
    features = bench.image()
    more = bench.pick("", "sampling_ratio: 2", "roi_end_mode: 1")
    settings = f"pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 {more}"
    return Piece((features, _regions(bench, features)), f"roi_align_param {{ {settings} }}")


DETECTION: Mapping[str, Template] = {
    "PriorBox": _prior_box,
    "DetectionOutput": _detections("detection_output_param", "nms_param { top_k: 3 } confidence_threshold: 0.2"),
    "SSDDetectionOutput": _detections("ssddetectionoutput_param", "keep_top_k: 4"),
    "Proposal": _proposal,
    "Nms": _nms,
    "ROIPooling": _roi_pooling,
    "PSROIPooling": _psroi_pooling,
    "ROIAlign": _roi_align,
}


def _scores(bench: Bench) -> Blob:
    return bench.blob(lambda shape: len(shape) == 2 and shape[1] > 1, (3, 4))


def _labelled(parameters: str = "", tops: int = 1) -> Template:
    """One label a sample."""

    def make(bench: Bench) -> Piece:
        scores = _scores(bench)
        labels = bench.input((scores.shape[0],), f"below{scores.shape[1]}")
        return Piece((scores, labels), parameters, bench.between(1, tops))

    return make


def _infogain(bench: Bench) -> Piece:
    scores = _scores(bench)
    samples, classes = scores.shape
    return Piece((scores, bench.input((samples,), f"below{classes}"), bench.input((1, 1, classes, classes))))


def _difference(bench: Bench) -> Piece:
    first = bench.blob(lambda shape: len(shape) > 0)
    return Piece((first, bench.like(first)))


def _contrastive(bench: Bench) -> Piece:
    first = _scores(bench)
    return Piece((first, bench.like(first), bench.input((first.shape[0],), "flags")))


LOSSES: Mapping[str, Template] = {
    "SoftmaxWithLoss": _labelled("loss_param { normalization: FULL }", tops=2),
    "InfogainLoss": _infogain,
    "MultinomialLogisticLoss": _labelled(),
    "HingeLoss": _labelled("hinge_loss_param { norm: L2 }"),
    "SigmoidCrossEntropyLoss": _difference,
    "EuclideanLoss": _difference,
    "ContrastiveLoss": _contrastive,
    "SmoothL1Loss": _difference,
    "Accuracy": _labelled("accuracy_param { top_k: 2 }", tops=2),
}

_TRANSFORM = "transform_param { crop_size: 6 mean_value: 1 mean_value: 2 mean_value: 3 }"


def _source(parameters: str, *tops: int) -> Template:
    return lambda bench: Piece(parameters=parameters, tops=bench.pick(*tops))


def _shape(bench: Bench) -> str:
    sizes: Shape = bench.pick((2, 3), (1, 4, 6, 6), (4,))
    return f"shape {{ {' '.join(f'dim: {size}' for size in sizes)} }}"


def _dummy(bench: Bench) -> Piece:
    filler = bench.pick("", 'data_filler { type: "constant" value: 0.5 }')
    return Piece(parameters=f"dummy_data_param {{ {_shape(bench)} {filler} }}", tops=bench.between(1, 2))


DATA: Mapping[str, Template] = {
    "Input": lambda bench: Piece(parameters=f"input_param {{ {_shape(bench)} }}", tops=bench.between(1, 2)),
    "DummyData": _dummy,
    "Parameter": lambda bench: Piece(parameters=f"parameter_param {{ {_shape(bench)} }}"),
    "Data": _source(f'data_param {{ source: "x" batch_size: 2 }} {_TRANSFORM}', 1, 2),
    "AnnotatedData": _source('data_param { source: "x" batch_size: 2 }', 1, 2),
    "ImageData": _source('image_data_param { source: "x" batch_size: 2 new_height: 5 new_width: 4 }', 2),
    "MemoryData": _source("memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", 2),
    "HDF5Data": _source('hdf5_data_param { source: "x" batch_size: 2 }', 1, 2),
    "WindowData": _source(f'window_data_param {{ source: "x" batch_size: 2 }} {_TRANSFORM}', 2),
}
