"""Quantization-aware training: the model to be trained, its TEST phase, and the quantized files of the trained one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.compat import amct_caffe as amct
from amctc.compat import caffe
from amctc.compat.amct_caffe.log import log
from amctc.diagnostics import DiagnosticError
from amctc.driver import convert
from amctc.driver.ready_to_convert import ENDING
from amctc.frontends import load_model
from amctc.quant.ulq import ulq_grid
from amctc.records.read_record import read_record
from tests.compat.running import saved
from tests.nets import conv, data, layer, write_net
from tests.shared_files import ASSETS, needs_assets

CONFIG, RECORD = "config.json", "record.txt"
MODIFIED = ("modified.prototxt", "modified.caffemodel")
TRAINED = "trained.caffemodel"
MODELS = ASSETS / "caffe"
LENET = (MODELS / "mnist_lenet/deploy.prototxt", MODELS / "mnist_lenet/lenet_iter_10000.caffemodel")
RESNET = (MODELS / "cifar10_resnet20/deploy.prototxt", MODELS / "cifar10_resnet20/resnet20.caffemodel")

Files = tuple[str | Path, str | Path]


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    log.close()
    yield tmp_path
    log.close()


def shared_input(folder: Path) -> Files:
    """Two convolutions and an inner product on one value behind an in-place ReLU, and BatchNorm with Scale."""
    inner = "inner_product_param { num_output: 5 }"
    text = (
        data("2 3 8 8")
        + conv("first", "data", 4)
        + layer("bn", "BatchNorm", "first", "first", "batch_norm_param { use_global_stats: true }")
        + layer("scale", "Scale", "first", "first", "scale_param { bias_term: true }")
        + layer("relu", "ReLU", "first", "first")
        + conv("left", "first", 4, 1)
        + conv("right", "first", 4, 1)
        + layer("sum", "Eltwise", "left right", "sum")
        + layer("ip", "InnerProduct", "sum", "ip", inner)
    )
    return write_net(folder, text)


BOTH_PHASES = (
    'layer { name: "data" type: "DummyData" top: "data" include { phase: TRAIN } dummy_data_param { '
    'shape { dim: 4 dim: 3 dim: 6 dim: 6 } data_filler { type: "constant" value: 0.5 } } }\n'
    'layer { name: "data" type: "Input" top: "data" include { phase: TEST } input_param { '
    "shape { dim: 2 dim: 3 dim: 6 dim: 6 } } }\n"
    'layer { name: "label" type: "DummyData" top: "label" include { phase: TRAIN } dummy_data_param { '
    'shape { dim: 4 } data_filler { type: "constant" value: 1 } } }\n'
    'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } '
    "convolution_param { num_output: 4 kernel_size: 3 } }\n"
    'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }\n'
    'layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" include { phase: TRAIN } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip" inner_product_param { num_output: 3 } }\n'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" include { phase: TRAIN } }\n'
    'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { phase: TEST } }\n'
)


def configure(files: Files, **layers: Mapping[str, Any]) -> None:
    """Write the usual config, with other values for some layers."""
    amct.create_quant_retrain_config(CONFIG, str(files[0]), str(files[1]))
    config = json.loads(Path(CONFIG).read_text(encoding="utf-8"))
    for name, values in layers.items():
        config[name] |= values
    Path(CONFIG).write_text(json.dumps(config), encoding="utf-8")


def create(files: Files, **layers: Mapping[str, Any]) -> None:
    configure(files, **layers)
    amct.create_quant_retrain_model(str(files[0]), str(files[1]), CONFIG, *MODIFIED, RECORD)


def set_clips(net: Any, clip_max: float, clip_min: float = 0.0) -> None:
    for name, blobs in net.params.items():
        if name.endswith(".retrain_data"):
            blobs[0].data[...], blobs[1].data[...] = clip_max, clip_min


def trained(batch: NDArray[np.float32], clip_max: float, clip_min: float = 0.0) -> NDArray[np.float32]:
    """Set the clips, run phase TEST, which writes the record, and save the weights; gives the output."""
    net = caffe.Net(*MODIFIED, caffe.TEST)
    set_clips(net, clip_max, clip_min)
    found = net.forward(data=batch)[net.outputs[0]].copy()
    net.save(TRAINED)
    return found


def save(prefix: str = "results/net", record: str | None = RECORD, kind: str = "Both") -> Mapping[str, bytes]:
    amct.save_quant_retrain_model(MODIFIED[0], TRAINED, kind, prefix, record, CONFIG)
    return saved(Path(prefix))


def code(refusal: pytest.ExceptionInfo[Any]) -> str:
    assert isinstance(refusal.value, DiagnosticError)
    return refusal.value.diagnostics[0].code


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def run(model: str, weights: str, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    net = caffe.Net(model, weights, caffe.TEST)
    found: NDArray[np.float32] = net.forward(data=batch)[net.outputs[0]].copy()
    return found


def arq(weight: NDArray[np.float32], *, per_channel: bool = True) -> NDArray[np.float32]:
    """ARQ written anew: symmetric, by 128 where the negative side is the larger, else by 127."""
    rows = weight.reshape(len(weight), -1) if per_channel else weight.reshape(1, -1)
    high, low = rows.max(axis=1), -rows.min(axis=1)
    scale = (np.maximum(high, low) / np.where(high < low, np.float32(128), np.float32(127)))[:, None]
    steps = np.clip(np.rint(rows / scale), -128, 127).astype(np.float32)
    return np.asarray(steps * scale, np.float32).reshape(weight.shape)


class TestTheModel:
    def test_one_quantizer_stands_for_all_that_read_a_value_alike(self, desk: Path) -> None:
        create(shared_input(desk))
        graph = load_model(*MODIFIED)
        quantizers = {node.name: node for node in graph.nodes if node.op == "quant.RetrainData"}
        assert list(quantizers) == ["first.retrain_data", "left.retrain_data", "ip.retrain_data"]
        assert quantizers["left.retrain_data"].attrs["layer"] == "left-right"
        left = quantizers["left.retrain_data"].output
        assert graph.node("left").inputs == graph.node("right").inputs == (left,)
        assert quantizers["left.retrain_data"].inputs[0].producer.name == "relu"
        assert quantizers["first.retrain_data"].inputs[0].producer.name == "data"

    def test_layers_of_other_settings_have_quantizers_of_their_own(self, desk: Path) -> None:
        create(shared_input(desk), right={"retrain_data_config": {"algo": "ulq_quantize", "num_bits": 12}})
        graph = load_model(*MODIFIED)
        assert graph.node("right.retrain_data").attrs["bits"] == 12
        assert graph.node("left.retrain_data").attrs["layer"] == "left"
        assert "right.retrain_data" not in (graph.node("left").inputs[0].producer.name,)

    def test_the_lower_end_is_fixed_behind_a_relu_and_nowhere_else(self, desk: Path) -> None:
        create(shared_input(desk))
        graph = load_model(*MODIFIED)
        fixed = {node.name: node.attrs["fixed_min"] for node in graph.nodes if node.op == "quant.RetrainData"}
        assert fixed == {"first.retrain_data": False, "left.retrain_data": True, "ip.retrain_data": False}

    def test_the_config_s_fixed_min_and_clips_win(self, desk: Path) -> None:
        said = {"algo": "ulq_quantize", "fixed_min": True, "clip_max": 3.0, "clip_min": -1.5, "num_bits": 8}
        create(shared_input(desk), ip={"retrain_data_config": said})
        node = load_model(*MODIFIED).node("ip.retrain_data")
        assert node.attrs["fixed_min"] is True and node.attrs["ifmr_init"] is False
        assert [float(node.weights[role][0]) for role in ("clip_max", "clip_min")] == [3.0, -1.5]

    def test_a_layer_that_is_switched_off_stays_as_it_is(self, desk: Path) -> None:
        files = shared_input(desk)
        create(files, first={"retrain_enable": False})
        node = load_model(*MODIFIED).node("first")
        assert node.inputs[0].producer.name == "data"
        assert node.attrs == load_model(*files).node("first").attrs

    def test_the_record_is_emptied(self, desk: Path) -> None:
        Path(RECORD).write_text("old", encoding="utf-8")
        create(shared_input(desk))
        assert Path(RECORD).read_bytes() == b""

    def test_both_phases_are_kept(self, desk: Path) -> None:
        files = self._both_phases(desk)
        create(files)
        text = Path(MODIFIED[0]).read_text(encoding="utf-8")
        names = [line.split('"')[1] for line in text.splitlines() if line.startswith("  name:")]
        assert names == [
            *("data", "data", "label", "conv.retrain_data", "conv", "relu", "drop"),
            *("ip.retrain_data", "ip", "loss", "prob"),
        ]
        assert "lr_mult: 1" in text
        train = caffe.Net(*MODIFIED, caffe.TRAIN)
        test = caffe.Net(*MODIFIED, caffe.TEST)
        assert (train.blobs["ip"].num, test.blobs["ip"].num) == (4, 2)
        assert "loss" in train.forward() and "prob" in test.forward()
        assert Path(RECORD).read_bytes() == b""

    def test_layers_of_one_phase_have_a_quantizer_of_that_phase(self, desk: Path) -> None:
        more = 'layer { name: "aside" type: "InnerProduct" bottom: "conv" top: "aside" include { phase: TEST } '
        files = self._both_phases(desk, more + "inner_product_param { num_output: 2 } }\n")
        create(files)
        graph = load_model(*MODIFIED)
        assert graph.node("aside.retrain_data").attrs["layer"] == "aside"
        train = caffe.Net(MODIFIED[0], MODIFIED[1], caffe.TRAIN)
        assert "aside.retrain_data" not in train.params and "ip.retrain_data" in train.params

    def test_phase_train_writes_no_record(self, desk: Path) -> None:
        create(self._both_phases(desk))
        net = caffe.Net(*MODIFIED, caffe.TRAIN)
        set_clips(net, 2.0, -2.0)
        net.forward()
        assert Path(RECORD).read_bytes() == b""

    @staticmethod
    def _both_phases(folder: Path, more: str = "") -> Files:
        prototxt, weights = write_net(folder, BOTH_PHASES + more)
        return prototxt, weights

    def test_a_layer_in_place_keeps_its_blob(self, desk: Path) -> None:
        text = (
            data("2 3 4 4")
            + layer("flat", "Flatten", "data", "flat")
            + layer("ip", "InnerProduct", "flat", "flat", "inner_product_param { num_output: 48 }")
            + layer("relu", "ReLU", "flat", "flat")
            + layer("last", "InnerProduct", "flat", "last", "inner_product_param { num_output: 2 }")
        )
        create(write_net(desk, text))
        graph = load_model(*MODIFIED)
        chain = [graph.node("last")]
        while chain[-1].inputs:
            chain.append(chain[-1].inputs[0].producer)
        assert [node.name for node in chain] == [
            *("last", "last.retrain_data", "relu", "ip", "ip.retrain_data", "flat", "data"),
        ]
        assert graph.node("ip.retrain_data").output.blob == graph.node("relu").output.blob == "flat"
        assert graph.node("last.retrain_data").attrs["fixed_min"] is True

    def test_an_old_net_is_written_in_today_s_form(self, desk: Path) -> None:
        prototxt, weights = write_net(desk, data("2 3 4 4") + conv("conv", "data", 2))
        prototxt.write_text(
            'input: "data" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 4\n'
            'layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 2 '
            "convolution_param { num_output: 2 kernel_size: 3 } }\n",
            encoding="utf-8",
        )
        create((prototxt, weights))
        assert [node.name for node in load_model(*MODIFIED).nodes] == ["input", "conv.retrain_data", "conv"]
        assert "lr_mult: 2" in Path(MODIFIED[0]).read_text(encoding="utf-8")

    def test_names_that_are_taken_are_not_taken_again(self, desk: Path) -> None:
        text = data("2 3 4 4") + layer("conv.retrain_data", "AbsVal", "data", "positive") + conv("conv", "positive", 2)
        create(write_net(desk, text))
        assert load_model(*MODIFIED).node("conv").inputs[0].producer.name == "conv.retrain_data_1"


class TestPhaseTest:
    def test_before_clips_are_set_only_weights_are_quantized(self, desk: Path) -> None:
        files = shared_input(desk)
        create(files)
        batch = noise(2, 3, 8, 8)
        float_net = caffe.Net(str(files[0]), str(files[1]), caffe.TEST)
        unquantized = float_net.forward(data=batch)["ip"].copy()
        for name in ("first", "left", "right", "ip"):
            blob = float_net.params[name][0]
            blob.data[...] = arq(blob.data, per_channel=name != "ip")
        wanted = float_net.forward(data=batch)["ip"].copy()
        found = run(*MODIFIED, batch)
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
        assert np.abs(found - unquantized).max() > 1e-4
        assert Path(RECORD).read_bytes() == b""

    def test_data_are_put_on_the_grid_of_the_clips(self, desk: Path) -> None:
        create(shared_input(desk))
        net = caffe.Net(*MODIFIED, caffe.TEST)
        set_clips(net, 1.5, -0.5)
        batch = noise(2, 3, 8, 8)
        net.forward(data=batch)
        scale = np.float32(2.0) / np.float32(255)
        offset = np.rint(-128 + 0.5 / scale)
        steps = np.clip(np.rint(batch / scale) + offset, -128, 127)
        assert np.abs(net.blobs["first.retrain_data"].data - (steps - offset) * scale).max() < 1.01 * scale
        assert len(np.unique(net.blobs["first.retrain_data"].data)) <= 256

    def test_the_record_has_the_clips_and_the_folded_weights(self, desk: Path) -> None:
        files = shared_input(desk)
        create(files)
        trained(noise(2, 3, 8, 8), 6.0, -2.0)
        record = read_record(RECORD).by_name
        assert list(record) == ["first", "left", "right", "ip"]
        grid, fixed = (ulq_grid(6.0, -2.0, bits=8, fixed_min=fixed) for fixed in (False, True))
        assert grid is not None and fixed is not None
        first, left = record["first"].input(0), record["left"].input(0)
        assert first is not None and (first.scale, first.offset) == (float(grid.scale), int(grid.offset))
        assert left is not None and (left.scale, left.offset) == (float(fixed.scale), -128)
        assert record["right"].inputs == record["left"].inputs
        params = caffe.Net(str(files[0]), str(files[1]), caffe.TEST).params
        rows = params["first"][0].data.reshape(4, -1)
        plain = np.abs(rows).max(axis=1) / np.where(rows.max(axis=1) < -rows.min(axis=1), 128, 127)
        variance = params["bn"][1].data / params["bn"][2].data[0] + 1e-5
        slopes = np.abs(params["scale"][0].data) / np.sqrt(variance)
        assert np.allclose(record["first"].scale_w, plain * slopes, rtol=1e-5)

    def test_the_record_follows_the_clips(self, desk: Path) -> None:
        create(shared_input(desk))
        net = caffe.Net(*MODIFIED, caffe.TEST)
        batch = noise(2, 3, 8, 8)
        scales: list[float | None] = []
        for clip in (1.0, 3.0):
            set_clips(net, clip)
            net.forward(data=batch)
            given = read_record(RECORD).by_name["ip"].input(0)
            scales.append(given.scale if given is not None else None)
        assert scales == [float(np.float32(clip) / np.float32(255)) for clip in (1.0, 3.0)]

    @pytest.mark.parametrize("clips", [(0.0, 0.0), (-1.0, 1.0), (float("nan"), 0.0)])
    def test_clips_that_are_no_range_quantize_nothing(self, clips: tuple[float, float]) -> None:
        assert ulq_grid(*clips, bits=8, fixed_min=False) is None

    def test_an_end_on_the_wrong_side_of_zero_counts_as_zero(self) -> None:
        positive, negative = (ulq_grid(*clips, bits=8, fixed_min=False) for clips in ((2.0, 1.0), (-1.0, -2.0)))
        assert positive is not None and negative is not None
        assert (int(positive.offset), float(positive.scale)) == (-128, float(np.float32(2) / np.float32(255)))
        assert int(negative.offset) == 127


def check_saved(files: Files, batch: NDArray[np.float32], clip_max: float, clip_min: float) -> None:
    """The saved models agree with each other and with what `amctc convert` writes from the same record."""
    create(files)
    in_training = trained(batch, clip_max, clip_min)
    made = save()
    fake, deploy = (
        run(f"results/net_{kind}_model.prototxt", f"results/net_{kind}_weights.caffemodel", batch)
        for kind in ("fake_quant", "deploy")
    )
    assert np.abs(fake - deploy).max() <= 1e-5 * np.abs(fake).max()
    assert np.abs(fake - in_training).max() <= 0.05 * np.abs(in_training).max()
    convert(files[0], TRAINED, record=RECORD, output="converted/net")
    wanted = saved(Path("converted/net"))
    assert set(made) - {ENDING} <= set(wanted)
    same = [name for name in made if not name.endswith(("quant.json", ENDING))]
    assert {name: made[name] for name in same} == {name: wanted[name] for name in same}
    assert save("without/net", record=None) == made


class TestSaving:
    def test_a_small_net_with_shared_values_and_batch_norm(self, desk: Path) -> None:
        check_saved(shared_input(desk), noise(2, 3, 8, 8), 6.0, -6.0)

    @needs_assets
    def test_lenet(self) -> None:
        with np.load(ASSETS / "data/mnist_t10k.npz") as arrays:
            images = next(arrays[name] for name in arrays.files if arrays[name].ndim > 1)
        net = caffe.Net(str(LENET[0]), caffe.TEST)
        shape = net.blobs["data"].shape
        batch = images.reshape(-1, 1, 28, 28)[: shape[0]].astype(np.float32) / 256
        check_saved(LENET, batch, 8.0, -4.0)

    @needs_assets
    def test_resnet(self) -> None:
        shape = caffe.Net(str(RESNET[0]), caffe.TEST).blobs["data"].shape
        check_saved(RESNET, noise(*shape), 6.0, -3.0)

    def test_a_net_of_both_phases(self, desk: Path) -> None:
        prototxt, weights = write_net(desk, BOTH_PHASES)
        create((prototxt, weights))
        net = caffe.Net(*MODIFIED, caffe.TEST)
        set_clips(net, 4.0, -4.0)
        net.forward()
        net.save(TRAINED)
        made = save()
        assert b"RetrainDataQuant" not in made["deploy_model.prototxt"]
        assert b"retrain_weight" not in made["deploy_model.prototxt"]
        convert(prototxt, TRAINED, record=RECORD, output="converted/net")
        wanted = saved(Path("converted/net"))
        for name in ("deploy_model.prototxt", "deploy_weights.caffemodel", "fake_quant_weights.caffemodel"):
            assert made[name] == wanted[name]

    def test_one_scale_of_weights_becomes_one_for_each_channel_that_batch_norm_stretches(self, desk: Path) -> None:
        one = {"retrain_weight_config": {"algo": "arq_retrain", "channel_wise": False, "num_bits": 8}}
        create(shared_input(desk), first=one, left=one)
        trained(noise(2, 3, 8, 8), 6.0, -6.0)
        record = read_record(RECORD).by_name
        assert [len(record[name].scale_w) for name in ("first", "left", "right", "ip")] == [4, 1, 4, 1]
        assert "deploy_model.prototxt" in save()

    def test_data_of_more_bits(self, desk: Path) -> None:
        wide = {"retrain_data_config": {"algo": "ulq_quantize", "num_bits": 12}}
        create(shared_input(desk), first=wide, left=wide, right=wide, ip=wide)
        batch = noise(2, 3, 8, 8)
        in_training = trained(batch, 8.0, -8.0)
        save()
        deploy = run("results/net_deploy_model.prototxt", "results/net_deploy_weights.caffemodel", batch)
        assert np.abs(deploy - in_training).max() <= 0.005 * np.abs(in_training).max()

    def test_only_the_kind_that_was_asked_for_is_written(self, desk: Path) -> None:
        create(shared_input(desk))
        trained(noise(2, 3, 8, 8), 6.0, -2.0)
        made = save(kind="Fakequant")
        assert not [name for name in made if name.startswith("deploy")]
        assert "fake_quant_model.prototxt" in made

    def test_a_layer_that_is_switched_off_stays_float(self, desk: Path) -> None:
        create(shared_input(desk), left={"retrain_enable": False})
        trained(noise(2, 3, 8, 8), 6.0, -2.0)
        made = save()
        entries = {entry["name"]: entry["quantized"] for entry in json.loads(made["quant.json"])["layers"]}
        assert entries["right"] and not entries.get("left", False)

    def test_a_record_wins_over_the_clips_and_the_log_says_so(
        self, desk: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        create(shared_input(desk))
        batch = noise(2, 3, 8, 8)
        trained(batch, 3.0, -3.0)
        of_record = save("first/net")
        assert "[AM640]" not in capsys.readouterr().err
        kept = Path(RECORD).read_bytes()
        trained(batch, 6.0, -6.0)
        Path(RECORD).write_bytes(kept)
        assert save("second/net") == of_record
        assert "[AM640]" in capsys.readouterr().err
        assert save("third/net", record=None) != of_record

    def test_a_record_without_a_layer_takes_it_from_the_model(self, desk: Path) -> None:
        create(shared_input(desk))
        trained(noise(2, 3, 8, 8), 3.0, -3.0)
        whole = save("first/net")
        Path(RECORD).write_bytes(b"")
        assert save("second/net") == whole


class TestMistakes:
    def test_clips_that_were_never_set(self, desk: Path) -> None:
        create(shared_input(desk))
        with pytest.raises(RuntimeError, match="the clips of layer `first` are not set") as refusal:
            amct.save_quant_retrain_model(*MODIFIED, "Both", "results/net", RECORD, CONFIG)
        assert code(refusal) == "AM637"
        assert not Path("results").exists()

    def test_a_model_that_was_not_made_for_training(self, desk: Path) -> None:
        files = shared_input(desk)
        with pytest.raises(RuntimeError, match="no layers that training quantizes") as refusal:
            amct.save_quant_retrain_model(str(files[0]), str(files[1]), "Both", "results/net")
        assert code(refusal) == "AM639"

    def test_a_model_that_is_made_for_training_already(self, desk: Path) -> None:
        files = shared_input(desk)
        create(files)
        with pytest.raises(RuntimeError, match="quantized already"):
            amct.create_quant_retrain_model(*MODIFIED, CONFIG, "again.prototxt", "again.caffemodel", RECORD)
        assert not Path("again.prototxt").exists()

    def test_a_config_that_leaves_no_layer(self, desk: Path) -> None:
        off = {"retrain_enable": False}
        with pytest.raises(RuntimeError, match="leaves no layer") as refusal:
            create(shared_input(desk), first=off, left=off, right=off, ip=off)
        assert code(refusal) == "AM638"
        assert not Path(MODIFIED[0]).exists()

    @pytest.mark.parametrize("missing", ["net.prototxt", "net.caffemodel", CONFIG])
    def test_a_file_that_is_not_there(self, desk: Path, missing: str) -> None:
        files = shared_input(desk)
        configure(files)
        (desk / missing).unlink()
        with pytest.raises(FileNotFoundError):
            amct.create_quant_retrain_model(str(files[0]), str(files[1]), CONFIG, *MODIFIED, RECORD)
        assert not Path(MODIFIED[0]).exists() and not Path(RECORD).exists()

    def test_saving_before_the_model_is_made(self, desk: Path) -> None:
        with pytest.raises(FileNotFoundError):
            amct.save_quant_retrain_model(*MODIFIED, "Both", "results/net")

    def test_a_width_of_weights_that_there_is_not(self, desk: Path) -> None:
        create(shared_input(desk))
        text = Path(MODIFIED[0]).read_text(encoding="utf-8")
        begin, end = text.split("  retrain_weight_quant_param {", 1)
        wrong = end.replace("num_bits: 8", "num_bits: 5", 1)
        Path(MODIFIED[0]).write_text(f"{begin}  retrain_weight_quant_param {{{wrong}", encoding="utf-8")
        with pytest.raises(DiagnosticError, match="must be one of 4, 6, 7, 8, not 5"):
            load_model(*MODIFIED)

    def test_blobs_that_are_no_clips_are_refused(self, desk: Path) -> None:
        create(shared_input(desk))
        text = Path(MODIFIED[0]).read_text(encoding="utf-8")
        swapped = text.replace('name: "first"', 'name: "other"').replace('name: "first.retrain_data"', 'name: "first"')
        Path(MODIFIED[0]).write_text(swapped, encoding="utf-8")
        with pytest.raises(DiagnosticError, match="2 blobs of one number"):
            load_model(*MODIFIED)
