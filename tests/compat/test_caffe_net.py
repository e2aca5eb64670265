"""`caffe.Net` as scripts use it: blobs, params, partial runs, saving, errors."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amctc.compat import caffe
from amctc.compat.caffe.proto import caffe_pb2
from amctc.diagnostics import DiagnosticError
from tests.nets import conv, data, layer, write_net

FC = layer("fc", "InnerProduct", "pool", "fc", "inner_product_param { num_output: 5 }")
TEXT = (
    data("2 3 8 8")
    + conv("conv1", "data", 4)
    + layer("relu1", "ReLU", "conv1", "conv1")
    + layer("pool", "Pooling", "conv1", "pool", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + FC
    + layer("prob", "Softmax", "fc", "prob")
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    prototxt, weights = write_net(tmp_path, TEXT)
    return str(prototxt), str(weights)


@pytest.fixture
def net(files: tuple[str, str]) -> caffe.Net:
    made = caffe.Net(*files, caffe.TEST)
    made.blobs["data"].data[...] = np.random.default_rng(3).normal(size=(2, 3, 8, 8))
    return made


def test_every_form_of_the_call_makes_the_same_net(files: tuple[str, str]) -> None:
    prototxt, weights = files
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 8))
    nets = [
        caffe.Net(prototxt, weights, caffe.TEST),
        caffe.Net(prototxt, caffe.TEST, weights),
        caffe.Net(prototxt, caffe.TEST, weights=weights),
        caffe.Net(prototxt, caffe.TEST, 0, ["deploy"], weights),
        caffe.Net(network_file=prototxt, phase=caffe.TEST, weights=weights, level=0, stages=None),
    ]
    found = [net.forward(data=x)["prob"] for net in nets]
    assert all(np.array_equal(each, found[0]) for each in found)


@pytest.mark.parametrize("args", [(), ("net.prototxt",), ("net.prototxt", 7), ("net.prototxt", 1, 0, None, None, 3)])
def test_arguments_of_no_form_are_a_type_error_that_shows_the_forms(args: tuple[object, ...]) -> None:
    with pytest.raises(TypeError, match=r"AM660[\s\S]*caffe.Net\(prototxt, caffemodel, caffe.TEST\)"):
        caffe.Net(*args)
    with pytest.raises(TypeError, match="no argument `phases`"):
        caffe.Net("net.prototxt", phases=1)


def test_a_missing_file_is_a_runtime_error_with_diagnostics(files: tuple[str, str]) -> None:
    for args in (("nope.prototxt", caffe.TEST), (files[0], "nope.caffemodel", caffe.TEST)):
        with pytest.raises(RuntimeError, match="nope") as caught:
            caffe.Net(*args)
        assert isinstance(caught.value, DiagnosticError)


def test_a_net_tells_its_names_and_types(net: caffe.Net) -> None:
    assert (net.inputs, net.outputs) == (["data"], ["prob"])
    assert list(net.blobs) == ["data", "conv1", "pool", "fc", "prob"]
    assert list(net.params) == ["conv1", "fc"]
    assert [each.type for each in net.layers] == ["Input", "Convolution", "ReLU", "Pooling", "InnerProduct", "Softmax"]
    assert net.layer_dict["fc"].blobs == net.params["fc"]
    assert (net.bottom_names["relu1"], net.top_names["relu1"]) == (["conv1"], ["conv1"])
    assert (net.top_names["data"], net.bottom_names["data"]) == (["data"], [])
    script: Any = net
    assert script._layer_names == ["data", "conv1", "relu1", "pool", "fc", "prob"]
    assert [b.data.shape for b in net.params["fc"]] == [(5, 36), (5,)]


def test_a_blob_is_as_long_as_it_says(net: caffe.Net) -> None:
    blob = net.blobs["data"]
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (2, 3, 8, 8, 384)
    assert (net.blobs["fc"].channels, net.blobs["fc"].height) == (5, 1)
    assert blob.data.dtype == np.float32 and blob.diff.shape == blob.shape and not blob.diff.any()


def test_data_is_one_writable_array_until_the_shape_changes(net: caffe.Net) -> None:
    blob = net.blobs["data"]
    first = blob.data
    first[0] = 7
    net.forward()
    assert blob.data is first and (first[0] == 7).all()
    blob.reshape(1, 3, 8, 8)
    assert blob.data.shape == (1, 3, 8, 8) and np.shares_memory(blob.data, first)
    with pytest.raises(AttributeError):
        blob.data = first  # type: ignore[misc]  # what a script may write


def test_the_next_forward_fills_arrays_that_are_held(net: caffe.Net) -> None:
    out = net.forward()
    conv, part = net.blobs["conv1"].data, net.blobs["fc"].data[1]
    before = {"prob": out["prob"].copy(), "conv1": conv.copy(), "fc": part.copy()}
    net.blobs["data"].data[...] *= -1
    again = net.forward()
    assert again["prob"] is out["prob"]
    for name, array in (("prob", out["prob"]), ("conv1", conv), ("fc", part)):
        assert not np.array_equal(array, before[name]), name
    fresh = net.forward(blobs=["conv1", "fc"])
    assert np.array_equal(fresh["conv1"], conv) and np.array_equal(fresh["fc"][1], part)


def test_blobs_looked_at_later_belong_to_the_last_forward(net: caffe.Net) -> None:
    net.forward()
    net.blobs["data"].data[...] = 0
    net.params["conv1"][1].data[...] = 100
    seen = net.blobs["conv1"].data.copy()
    net.forward()
    assert (net.blobs["conv1"].data == 100).all() and not (seen == 100).any()


def test_inputs_may_be_given_by_name(net: caffe.Net) -> None:
    x = net.blobs["data"].data.copy()
    expected = net.forward()["prob"].copy()
    net.blobs["data"].data[...] = 0
    assert np.array_equal(net.forward(data=x)["prob"], expected)
    assert net.forward(["fc", "conv1"], data=x).keys() == {"prob", "fc", "conv1"}


def test_wrong_inputs_raise_what_scripts_catch(net: caffe.Net) -> None:
    with pytest.raises(Exception, match="Input blob arguments do not match net inputs"):
        net.forward(image=np.zeros((2, 3, 8, 8)))
    with pytest.raises(Exception, match="Input is not batch sized"):
        net.forward(data=np.zeros((1, 3, 8, 8)))
    with pytest.raises(ValueError, match="broadcast"):
        net.forward(data=np.zeros((2, 3, 9, 9)))
    with pytest.raises(ValueError, match="broadcast"):
        net.blobs["data"].data[...] = np.zeros((3, 3, 8, 8))
    with pytest.raises(KeyError, match="did you mean `conv1`"):
        net.forward(blobs=["conv2"])
    with pytest.raises(ValueError, match="conv9"):
        net.forward(start="conv9")


def test_a_smaller_batch_needs_no_more_than_a_reshape(net: caffe.Net) -> None:
    whole = net.forward()["prob"].copy()
    x = net.blobs["data"].data[:1].copy()
    net.blobs["data"].reshape(1, 3, 8, 8)
    net.reshape()
    assert net.blobs["conv1"].shape == (1, 4, 6, 6)
    found = net.forward(data=x)
    assert found["prob"].shape == (1, 5)
    np.testing.assert_allclose(found["prob"], whole[:1], rtol=1e-6)


def test_another_image_size_is_refused_where_weights_do_not_fit(net: caffe.Net) -> None:
    net.blobs["data"].reshape(2, 3, 12, 12)
    with pytest.raises(RuntimeError, match="fc"):
        net.forward()
    net.blobs["data"].reshape(2, 3, 8, 8)
    assert net.forward()["prob"].shape == (2, 5)


@pytest.mark.parametrize("shape", [(-1, 3), (2**20, 2**20), (1,) * 33, ("a",)])
def test_a_shape_that_no_blob_can_have_is_refused(net: caffe.Net, shape: tuple[Any, ...]) -> None:
    with pytest.raises(RuntimeError, match="AM661"):
        net.blobs["data"].reshape(*shape)


def test_forward_all_takes_any_number_of_samples(net: caffe.Net) -> None:
    x = np.random.default_rng(5).normal(size=(5, 3, 8, 8)).astype(np.float32)
    found = net.forward_all(blobs=["fc"], data=x)
    assert {name: array.shape for name, array in found.items()} == {"prob": (5, 5), "fc": (5, 5)}
    net.blobs["data"].data[...] = x[2:4]
    np.testing.assert_array_equal(found["prob"][2:4], net.forward()["prob"])
    with pytest.raises(RuntimeError, match="AM661"):
        net.forward_all()


def test_a_run_up_to_a_layer_and_on_from_it_is_the_whole_run(net: caffe.Net) -> None:
    whole = net.forward()["prob"].copy()
    net.blobs["prob"].data[...] = 0
    assert list(net.forward(end="pool")) == ["pool"]
    assert not net.blobs["prob"].data.any()
    np.testing.assert_allclose(net.forward(start="fc")["prob"], whole, rtol=1e-6)
    net.blobs["pool"].data[...] = 0
    bias = net.params["fc"][1].data
    np.testing.assert_allclose(net.forward(start="fc", end="fc")["fc"], [bias, bias], rtol=1e-6)


def test_a_run_from_a_layer_that_works_in_place_reads_the_blob_as_it_is(net: caffe.Net) -> None:
    net.blobs["conv1"].data[...] = -1
    net.forward(start="relu1", end="relu1")
    assert not net.blobs["conv1"].data.any()


def test_written_weights_take_effect_at_the_next_forward(net: caffe.Net) -> None:
    net.forward()
    net.params["fc"][0].data[...] = 0
    bias: Any = net.params["fc"][1].data
    bias.flat = [9, 0, 0, 0, 0]
    assert np.array_equal(net.forward()["prob"].argmax(axis=1), [0, 0])
    net.params["fc"][1].data[3] = 99
    assert np.array_equal(net.forward()["prob"].argmax(axis=1), [3, 3])


def test_a_fully_connected_net_becomes_convolutional_by_surgery(files: tuple[str, str], tmp_path: Path) -> None:
    convolved = TEXT.replace(FC, conv("fc-conv", "pool", 5)).replace('bottom: "fc"', 'bottom: "fc-conv"')
    (tmp_path / "conv.prototxt").write_text(convolved)
    net = caffe.Net(*files, caffe.TEST)
    full = caffe.Net(str(tmp_path / "conv.prototxt"), files[1], caffe.TEST)
    for ours, theirs in zip(full.params["fc-conv"], net.params["fc"], strict=True):
        written: Any = ours.data
        written.flat = theirs.data.flat
    x = np.random.default_rng(2).normal(size=(2, 3, 8, 8))
    expected = net.forward(data=x)["prob"]
    np.testing.assert_allclose(full.forward(data=x)["prob"].reshape(2, 5), expected, rtol=1e-5)
    full.blobs["data"].reshape(1, 3, 16, 16)
    assert full.forward()["prob"].shape == (1, 5, 5, 5)


def test_saved_weights_are_read_by_another_net_and_by_protobuf(
    net: caffe.Net, files: tuple[str, str], tmp_path: Path
) -> None:
    net.params["conv1"][1].data[...] = 0.25
    expected = net.forward()["prob"].copy()
    path = str(tmp_path / "saved.caffemodel")
    net.save(path)
    other = caffe.Net(files[0], path, caffe.TEST)
    assert np.array_equal(other.forward(data=net.blobs["data"].data)["prob"], expected)
    message = caffe_pb2.NetParameter()
    message.ParseFromString(Path(path).read_bytes())
    blobs = {each.name: [caffe.io.blobproto_to_array(blob) for blob in each.blobs] for each in message.layer}
    assert np.array_equal(blobs["conv1"][0], net.params["conv1"][0].data) and (blobs["conv1"][1] == 0.25).all()


def test_copy_from_keeps_the_memory_and_leaves_layers_that_the_file_lacks(
    files: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other.prototxt").write_text(TEXT.replace('name: "fc"', 'name: "fc2"'))
    net = caffe.Net(str(tmp_path / "other.prototxt"), caffe.TEST)
    bias, own = net.params["conv1"][1].data, net.params["fc2"][0].data.copy()
    assert not bias.any()
    with caplog.at_level(logging.WARNING):
        net.copy_from(files[1])
    assert "no weights for fc2" in caplog.text
    assert bias.any() and net.params["conv1"][1].data is bias
    assert np.array_equal(net.params["fc2"][0].data, own)
    loaded = caffe.Net(*files, caffe.TEST)
    x = np.ones((2, 3, 8, 8))
    a, b = net.forward(["pool"], data=x)["pool"], loaded.forward(["pool"], data=x)["pool"]
    assert np.array_equal(a, b)


def test_nets_that_share_weights_see_what_is_written_in_either(files: tuple[str, str]) -> None:
    a, b = caffe.Net(*files, caffe.TEST), caffe.Net(files[0], caffe.TEST)
    b.share_with(a)
    assert np.shares_memory(a.params["fc"][0].data, b.params["fc"][0].data)
    x = np.ones((2, 3, 8, 8))
    a.params["conv1"][0].data[...] += 0.5
    assert np.array_equal(a.forward(data=x)["prob"], b.forward(data=x)["prob"])
    b.params["fc"][1].data[0] = 50
    assert (a.forward()["prob"].argmax(axis=1) == 0).all()


def test_nets_that_cannot_share_say_which_layer(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "other.prototxt").write_text(TEXT.replace("num_output: 5", "num_output: 6"))
    with pytest.raises(RuntimeError, match=r"AM671[\s\S]*`fc`"):
        caffe.Net(str(tmp_path / "other.prototxt"), caffe.TEST).share_with(caffe.Net(*files, caffe.TEST))


def test_layers_that_share_a_parameter_share_its_memory(tmp_path: Path) -> None:
    names = 'param { name: "w" } param { name: "b" } convolution_param { num_output: 3 kernel_size: 1 }'
    shared = layer("one", "Convolution", "data", "one", names) + layer("two", "Convolution", "one", "two", names)
    (tmp_path / "net.prototxt").write_text(data("1 3 8 8") + shared)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.params["two"][1].data[...] = 4
    net.params["two"][0].data[...] = 0
    assert (net.params["one"][1].data == 4).all()
    assert (net.forward(["one"])["one"] == 4).all()


def test_a_net_without_weights_has_those_of_its_fillers(tmp_path: Path) -> None:
    filler = 'weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.5 }'
    (tmp_path / "net.prototxt").write_text(data("1 3 8 8") + conv("c", "data", 64, more=filler))
    caffe.set_random_seed(7)
    first = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).params["c"]
    caffe.set_random_seed(7)
    again = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).params["c"]
    assert np.array_equal(first[0].data, again[0].data) and (first[1].data == 0.5).all()
    bound = np.sqrt(3 / 27)
    assert 0.9 * bound < np.abs(first[0].data).max() <= bound


@pytest.mark.parametrize(
    ("type", "mean", "deviation"),
    [
        ('"gaussian" mean: 2 std: 0.1', 2, 0.1),
        ('"uniform" min: -1 max: 3', 1, 4 / np.sqrt(12)),
        ('"msra"', 0, np.sqrt(2 / 27)),
        ('"xavier" variance_norm: FAN_OUT', 0, np.sqrt(1 / (9 * 64))),
        ('"positive_unitball"', 1 / 27, None),
    ],
)
def test_a_random_filler_has_its_mean_and_deviation(
    tmp_path: Path, type: str, mean: float, deviation: float | None
) -> None:
    (tmp_path / "net.prototxt").write_text(
        data("1 3 8 8") + conv("c", "data", 64, more=f"weight_filler {{ type: {type} }}")
    )
    caffe.set_random_seed(1)
    weights = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST).params["c"][0].data
    assert weights.mean() == pytest.approx(mean, abs=0.07)
    if deviation is not None:
        assert weights.std() == pytest.approx(deviation, rel=0.06)
    else:
        np.testing.assert_allclose(weights.reshape(64, -1).sum(axis=1), 1, rtol=1e-5)


def test_an_unknown_filler_and_too_many_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(data("1 3 8 8") + conv("c", "data", 4, more='weight_filler { type: "xaver" }'))
    with pytest.raises(RuntimeError, match=r"AM672[\s\S]*xaver"):
        caffe.Net(str(path), caffe.TEST)
    path.write_text(data("1 3 1000 1000") + FC.replace("pool", "data").replace("5", "2000000"))
    with pytest.raises(RuntimeError, match="AM672"):
        caffe.Net(str(path), caffe.TEST)


def test_a_parameter_keeps_its_size(net: caffe.Net) -> None:
    net.params["fc"][1].reshape(6)
    assert net.params["fc"][1].data.shape == (6,)
    with pytest.raises(RuntimeError, match=r"AM661[\s\S]*fc"):
        net.forward()


def test_the_loss_of_a_testing_net_is_given(tmp_path: Path) -> None:
    text = (
        data("2 3 8 8")
        + layer("label", "Input", "", "label", "input_param { shape { dim: 2 } }")
        + layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 4 }")
        + layer("loss", "SoftmaxWithLoss", "fc label", "loss", "loss_weight: 2")
        + layer("accuracy", "Accuracy", "fc label", "accuracy")
    )
    (tmp_path / "net.prototxt").write_text(text)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    assert net.outputs == ["accuracy", "loss"]
    found = net.forward(data=np.zeros((2, 3, 8, 8)), label=np.array([0, 3]))
    assert found["loss"] == pytest.approx(np.log(4))
    script: Any = net
    assert script._forward(0, 4) == pytest.approx(2 * np.log(4))


def test_a_recurrent_net_goes_on_from_its_state_however_it_is_looked_at(tmp_path: Path) -> None:
    text = (
        data("1 2 3")
        + layer("cont", "Input", "", "cont", "input_param { shape { dim: 1 dim: 2 } }")
        + layer("lstm", "LSTM", "data cont", "lstm", "recurrent_param { num_output: 4 }")
        + layer("out", "TanH", "lstm", "out")
    )
    prototxt, weights = write_net(tmp_path, text)
    feeds: dict[str, Any] = {"data": np.ones((1, 2, 3)), "cont": np.ones((1, 2))}
    plain, watched = (caffe.Net(str(prototxt), str(weights), caffe.TEST) for _ in range(2))
    for _ in range(3):
        expected = plain.forward(**feeds)["out"].copy()
        found = watched.forward(**feeds)["out"].copy()
        assert np.array_equal(watched.blobs["lstm"].data.shape, (1, 2, 4))
        assert np.array_equal(found, expected)


def test_layers_of_a_stage_and_level_are_there_when_asked_for(tmp_path: Path) -> None:
    text = data("1 3 8 8") + layer("r", "ReLU", "data", "r", 'include { stage: "deploy" min_level: 2 }')
    (tmp_path / "net.prototxt").write_text(text)
    path = str(tmp_path / "net.prototxt")
    assert caffe.Net(path, caffe.TEST).outputs == ["data"]
    assert caffe.Net(path, caffe.TEST, level=2, stages=["deploy"]).outputs == ["r"]


def test_what_trains_is_refused_with_words(net: caffe.Net) -> None:
    for call in (net.backward, net.forward_backward_all):
        with pytest.raises(RuntimeError, match="AM667"):
            call()
    with pytest.raises(RuntimeError, match="AM669"):
        net.save_hdf5("weights.h5")


def test_a_python_layer_may_be_written_but_not_made() -> None:
    class Halve(caffe.Layer):
        def forward(self, bottom: Any, top: Any) -> None:
            top[0].data[...] = bottom[0].data / 2

    with pytest.raises(RuntimeError, match="AM668"):
        Halve()


def test_what_scripts_set_for_the_process_is_accepted() -> None:
    caffe.set_mode_gpu()
    caffe.set_device(0)
    caffe.set_mode_cpu()
    caffe.set_multiprocess(False)
    caffe.init_log(2)
    assert (caffe.TRAIN, caffe.TEST, caffe.solver_count(), caffe.solver_rank()) == (0, 1, 1, 0)
    assert {"Convolution", "Python", "IFMR"} & set(caffe.layer_type_list()) == {"Convolution", "IFMR"}
    assert caffe.__version__.startswith("1.")
