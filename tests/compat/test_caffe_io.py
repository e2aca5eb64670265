"""`caffe.io`, `caffe.proto.caffe_pb2`, Classifier and Detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray
from PIL import Image

from amctc.compat import caffe
from amctc.compat.caffe.proto import caffe_pb2
from tests.nets import conv, data, layer, write_net

RNG = np.random.default_rng(11)


def saved(folder: Path, pixels: NDArray[Any], name: str = "image.png") -> str:
    Image.fromarray(pixels).save(folder / name)
    return str(folder / name)


def test_a_colour_image_is_rgb_between_0_and_1(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = caffe.io.load_image(saved(tmp_path, pixels))
    assert found.dtype == np.float32 and found.shape == (5, 7, 3)
    assert np.array_equal(found, (pixels / 255).astype(np.float32))


def test_a_grey_image_has_three_channels_or_one(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    path = saved(tmp_path, pixels)
    assert np.array_equal(caffe.io.load_image(path), np.repeat((pixels / 255)[:, :, None], 3, 2).astype(np.float32))
    assert caffe.io.load_image(path, color=False).shape == (5, 7, 1)


def test_alpha_is_dropped_and_grey_of_colour_is_luminance(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (4, 4, 4), dtype=np.uint8)
    path = saved(tmp_path, pixels)
    assert np.array_equal(caffe.io.load_image(path), (pixels[:, :, :3] / 255).astype(np.float32))
    expected = (pixels[:, :, :3] / 255) @ [0.2125, 0.7154, 0.0721]
    np.testing.assert_allclose(caffe.io.load_image(path, color=False)[:, :, 0], expected, rtol=1e-6)


def test_an_image_of_16_bits_is_between_0_and_1_too(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (4, 4), dtype=np.uint16)
    found = caffe.io.load_image(saved(tmp_path, pixels), color=False)
    np.testing.assert_allclose(found[:, :, 0], pixels / 65535, rtol=1e-6)


def test_what_is_no_image_is_a_runtime_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    for name in ("bad.jpg", "missing.jpg"):
        with pytest.raises(RuntimeError, match=f"AM670[\\s\\S]*{name}"):
            caffe.io.load_image(str(tmp_path / name))


def test_a_ramp_stays_one_when_it_is_resized_and_its_edge_fades_to_its_least_number() -> None:
    ramp = np.broadcast_to(np.arange(8.0)[None, :, None] + 10, (6, 8, 1))
    small = caffe.io.resize_image(ramp, (6, 7))
    np.testing.assert_allclose(small[0, :, 0], 10 + (np.arange(7) + 0.5) * 8 / 7 - 0.5, rtol=1e-5)
    large = caffe.io.resize_image(ramp, (6, 16))
    np.testing.assert_allclose(large[0, 1:-1, 0], 10 + (np.arange(1, 15) + 0.5) / 2 - 0.5, rtol=1e-5)
    # 17.25 lies a quarter of a pixel beyond the last centre, where scikit-image takes zero: here 10.
    assert large[0, -1, 0] == pytest.approx(17 * 0.75 + 10 * 0.25, rel=1e-5)


def test_halving_smooths_with_a_gaussian_of_half_a_pixel() -> None:
    image = RNG.random((8, 8, 1))
    weights = np.exp(-2.0 * np.arange(-2, 3) ** 2)
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    unit = (image[:, :, 0] - image.min()) / np.ptp(image)
    padded = np.pad(unit, 2)
    blunt = np.array([[(padded[y : y + 5, x : x + 5] * kernel).sum() for x in range(8)] for y in range(8)])
    expected = blunt.reshape(4, 2, 4, 2).mean(axis=(1, 3)) * np.ptp(image) + image.min()
    np.testing.assert_allclose(caffe.io.resize_image(image, (4, 4))[:, :, 0], expected, rtol=1e-5)


def test_other_numbers_of_channels_keep_their_corners() -> None:
    image = RNG.random((4, 5, 2)).astype(np.float32)
    found = caffe.io.resize_image(image, (7, 9))
    assert found.shape == (7, 9, 2)
    np.testing.assert_allclose(found[[0, 0, -1, -1], [0, -1, 0, -1]], image[[0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-6)
    np.testing.assert_allclose(found[::2, ::2], image, rtol=1e-5)


def test_a_constant_image_stays_constant_and_the_nearest_pixel_can_be_taken() -> None:
    assert (caffe.io.resize_image(np.full((3, 3, 3), 0.25), (5, 5)) == 0.25).all()
    image = RNG.random((4, 4, 3)).astype(np.float32)
    found = caffe.io.resize_image(image, (8, 8), interp_order=0)
    np.testing.assert_allclose(found, image.repeat(2, 0).repeat(2, 1), rtol=1e-5)
    assert caffe.io.resize(image[:, :, 0], (2, 2)).shape == (2, 2)
    with pytest.raises(RuntimeError, match="AM670"):
        caffe.io.resize_image(image, (8, 8), interp_order=3)
    with pytest.raises(RuntimeError, match="AM670"):
        caffe.io.resize_image(image, (0, 8))


def test_ten_crops_are_corners_middle_and_their_mirrors() -> None:
    image = np.arange(5 * 6.0).reshape(5, 6, 1)
    crops = caffe.io.oversample([image, image + 100], (3, 4))
    assert crops.shape == (20, 3, 4, 1)
    corners = [image[:3, :4], image[:3, 2:], image[2:, :4], image[2:, 2:], image[1:4, 1:5]]
    for index, corner in enumerate(corners):
        assert np.array_equal(crops[index], corner)
        assert np.array_equal(crops[index + 5], corner[:, ::-1])
        assert np.array_equal(crops[index + 10], corner + 100)
    with pytest.raises(RuntimeError, match="AM670"):
        caffe.io.oversample([image], (6, 6))


def transformer() -> caffe.io.Transformer:
    made = caffe.io.Transformer({"data": (1, 3, 4, 5)})
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (2, 1, 0))
    made.set_raw_scale("data", 255)
    made.set_mean("data", np.array([104.0, 117.0, 123.0]))
    made.set_input_scale("data", 0.5)
    return made


def test_the_transformer_prepares_an_image_and_gives_it_back() -> None:
    image = RNG.random((4, 5, 3)).astype(np.float32)
    found = transformer().preprocess("data", image)
    bgr = image[:, :, ::-1].transpose(2, 0, 1) * 255
    expected = (bgr - np.array([104, 117, 123]).reshape(3, 1, 1)) * 0.5
    assert found.dtype == np.float32 and found.shape == (3, 4, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(transformer().deprocess("data", found[None]), image, atol=1e-5)


def test_the_transformer_resizes_images_and_mean_images() -> None:
    made = caffe.io.Transformer({"data": (1, 3, 4, 5)})
    made.set_transpose("data", (2, 0, 1))
    made.set_mean("data", np.broadcast_to(np.arange(3.0).reshape(3, 1, 1), (3, 9, 9)))
    found = made.preprocess("data", np.ones((8, 10, 3)))
    np.testing.assert_allclose(found, np.broadcast_to([[[1]], [[0]], [[-1]]], (3, 4, 5)), atol=0.2)
    assert found.shape == (3, 4, 5)


def test_wrong_settings_of_the_transformer_raise_what_scripts_catch() -> None:
    made = transformer()
    with pytest.raises(Exception, match="image is not one of the net inputs"):
        made.set_raw_scale("image", 255)
    with pytest.raises(Exception, match="same number of dimensions"):
        made.set_transpose("data", (2, 0))
    with pytest.raises(Exception, match="input channels"):
        made.set_channel_swap("data", (1, 0))
    with pytest.raises(ValueError, match="Mean channels incompatible"):
        made.set_mean("data", np.zeros(4))
    with pytest.raises(ValueError, match="Mean shape invalid"):
        made.set_mean("data", np.zeros((2, 4, 5)))


def test_a_blob_of_a_file_becomes_an_array_and_back() -> None:
    array = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    blob = caffe.io.array_to_blobproto(array, diff=array * 2)
    read = caffe_pb2.BlobProto.FromString(blob.SerializeToString())
    assert np.array_equal(caffe.io.blobproto_to_array(read), array)
    assert np.array_equal(caffe.io.blobproto_to_array(read, return_diff=True), array * 2)
    old = caffe_pb2.BlobProto(num=1, channels=2, height=1, width=2, data=[1, 2, 3, 4])
    assert caffe.io.blobproto_to_array(old).shape == (1, 2, 1, 2)
    vector = caffe.io.arraylist_to_blobprotovector_str([array, array[0]])
    found = caffe.io.blobprotovector_str_to_arraylist(vector)
    assert [each.shape for each in found] == [(2, 3, 4), (3, 4)] and np.array_equal(found[0], array)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_datum_becomes_an_array_and_back(dtype: type[np.generic]) -> None:
    array = RNG.integers(0, 256, (3, 4, 5)).astype(dtype)
    datum = caffe.io.array_to_datum(array, label=6)
    read = caffe_pb2.Datum.FromString(datum.SerializeToString())
    assert read.label == 6 and bool(read.data) == (dtype is np.uint8)
    assert np.array_equal(caffe.io.datum_to_array(read), array)
    with pytest.raises(ValueError, match="Incorrect array shape"):
        caffe.io.array_to_datum(array[0])


def test_caffe_pb2_has_every_message_and_enum_for_protobufs_text_format() -> None:
    text = 'name: "n" layer { name: "p" type: "Pooling" pooling_param { pool: AVE kernel_size: 2 } phase: TEST }'
    net = caffe_pb2.NetParameter()
    text_format.Merge(text, net)
    assert net.layer[0].pooling_param.pool == caffe_pb2.PoolingParameter.AVE
    assert (net.layer[0].phase, caffe_pb2.TEST, caffe_pb2.TRAIN) == (1, 1, 0)
    assert caffe_pb2.Phase.Name(1) == "TEST"
    again = caffe_pb2.NetParameter()
    text_format.Merge(text_format.MessageToString(net), again)
    assert again == net and isinstance(again, caffe_pb2.NetParameter)
    assert caffe_pb2.LayerParameter().DESCRIPTOR.fields_by_name["quant_param"].number >= 200000
    with pytest.raises(AttributeError, match="did you mean `NetParameter`"):
        caffe_pb2.NetParameters()


def test_a_solver_file_can_be_read_and_written_with_caffe_pb2() -> None:
    solver = caffe.proto.caffe_pb2.SolverParameter()
    solver.net, solver.base_lr, solver.solver_mode = "net.prototxt", 0.01, caffe_pb2.SolverParameter.CPU
    again = caffe_pb2.SolverParameter()
    text_format.Merge(str(solver), again)
    assert again.net == "net.prototxt" and again.base_lr == pytest.approx(0.01)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    text = (
        data("4 3 6 6")
        + conv("conv", "data", 4)
        + layer("fc", "InnerProduct", "conv", "fc", "inner_product_param { num_output: 5 }")
        + layer("prob", "Softmax", "fc", "prob")
    )
    prototxt, weights = write_net(tmp_path, text)
    return str(prototxt), str(weights)


def test_a_classifier_predicts_images_by_their_middle_or_by_ten_crops(files: tuple[str, str]) -> None:
    made = caffe.Classifier(*files, image_dims=(8, 8), raw_scale=2, channel_swap=(2, 1, 0), mean=np.ones(3))
    images = [RNG.random((8, 8, 3)).astype(np.float32) for _ in range(3)]
    found = made.predict(images, oversample=False)
    net = caffe.Net(*files, caffe.TEST)
    middle = np.stack([image[1:7, 1:7, ::-1].transpose(2, 0, 1) * 2 - 1 for image in images])
    np.testing.assert_allclose(found, net.forward_all(data=middle)["prob"], rtol=1e-5)
    crops = caffe.io.oversample(images[:1], (6, 6))[:, :, :, ::-1].transpose(0, 3, 1, 2) * 2 - 1
    expected = net.forward_all(data=crops)["prob"].mean(axis=0)
    np.testing.assert_allclose(made.predict(images)[0], expected, rtol=1e-5)


def test_a_detector_classifies_windows_of_an_image(files: tuple[str, str], tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (10, 12, 3), dtype=np.uint8)
    path = saved(tmp_path, pixels)
    found = caffe.Detector(*files).detect_windows([(path, [(0, 0, 6, 6), (2, 3, 8, 9)])])
    assert [each["window"] for each in found] == [(0, 0, 6, 6), (2, 3, 8, 9)]
    windows = np.stack([pixels[:6, :6], pixels[2:8, 3:9]]).transpose(0, 3, 1, 2) / 255
    expected = caffe.Net(*files, caffe.TEST).forward_all(data=windows.astype(np.float32))["prob"]
    np.testing.assert_allclose(np.stack([each["prediction"] for each in found]), expected, rtol=1e-5)
