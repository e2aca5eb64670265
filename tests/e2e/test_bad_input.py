"""Every bad input: exit status 1, one clear diagnostic at the right place, and not a byte changed on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from amctc.text.proto_schema import load_schema
from tests.e2e.command import ENDINGS, POLICY, Outcome, amctc, contents, succeed
from tests.nets import conv, data, layer, write_net

NET = (
    data("2 3 8 8")
    + conv("conv1", "data", 4, more="pad: 1")
    + layer("relu1", "ReLU", "conv1", "conv1")
    + layer("fc", "InnerProduct", "conv1", "fc", "inner_product_param { num_output: 5 }")
)
"""Line 1 of the file is the name of the net, so `conv1` is on line 3, `relu1` on 4, `fc` on 5."""

SAMPLES = 8


@dataclass(frozen=True)
class Inputs:
    """What `amctc compile` is given; a case spoils one of them."""

    model: Path
    weights: Path | None
    policy: Path
    data: Path
    output: Path
    more: tuple[str, ...] = ()

    def compile(self) -> Outcome:
        weights = () if self.weights is None else (self.weights,)
        wanted = ("-p", self.policy, "-d", self.data, "-o", self.output)
        return amctc("compile", self.model, *weights, *wanted, *self.more)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """A small net, a policy and data that compile, and an output folder that holds what was written earlier."""
    model, weights = write_net(tmp_path, NET)
    policy, samples = tmp_path / "policy.cfg", tmp_path / "data.npz"
    policy.write_text("batch_num: 2\n", encoding="utf-8")
    np.savez(samples, data=random_samples())
    output = tmp_path / "out"
    output.mkdir()
    for ending in ENDINGS:
        (output / f"net_{ending}").write_text(f"what {ending} was before", encoding="utf-8")
    return Inputs(model, weights, policy, samples, output / "net")


def random_samples() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(SAMPLES, 3, 8, 8)).astype(np.float32)


Spoil = Callable[[Inputs], Inputs]


def edit(old: str, new: str) -> Spoil:
    """Replace a text in the prototxt."""

    def spoil(given: Inputs) -> Inputs:
        text = given.model.read_text(encoding="utf-8")
        assert old in text
        given.model.write_text(text.replace(old, new), encoding="utf-8")
        return given

    return spoil


def policy(text: str, name: str = "policy.cfg") -> Spoil:
    def spoil(given: Inputs) -> Inputs:
        path = given.policy.with_name(name)
        path.write_text(text, encoding="utf-8")
        return replace(given, policy=path)

    return spoil


def arrays(**named: NDArray[np.generic]) -> Spoil:
    def spoil(given: Inputs) -> Inputs:
        np.savez(given.data, **named)  # type: ignore[arg-type]  # its stub takes allow_pickle for an array name
        return given

    return spoil


def option(*more: str) -> Spoil:
    return lambda given: replace(given, more=more)


def cut_off(given: Inputs) -> Inputs:
    assert given.weights is not None
    given.weights.write_bytes(given.weights.read_bytes()[:-40])
    return given


def cut_off_inside_a_blob(given: Inputs) -> Inputs:
    """A whole message, whose first blob ends in the middle of a number."""
    assert given.weights is not None
    message: Any = load_schema("caffe_weights.proto").message("caffe_weights.Net")()
    message.ParseFromString(given.weights.read_bytes())
    blob = message.layer[0].blobs[0]
    blob.data[0] = blob.data[0][:-2] + b"\x07"
    given.weights.write_bytes(message.SerializeToString())
    return given


def no_weights(given: Inputs) -> Inputs:
    return replace(given, weights=None)


def missing(field: str) -> Spoil:
    def spoil(given: Inputs) -> Inputs:
        path: Path = getattr(given, field)
        return replace(given, **{field: path.with_name(f"x{path.name}")})  # type: ignore[arg-type]  # a path stays one

    return spoil


def a_prototxt_for_weights(given: Inputs) -> Inputs:
    return replace(given, weights=given.model)


def quantized_before(kind: str) -> Spoil:
    def spoil(given: Inputs) -> Inputs:
        prefix = given.model.with_name("first")
        outcome = replace(given, output=prefix).compile()
        assert outcome.status == 0, outcome.stderr
        model, weights = (prefix.with_name(f"first_{kind}_{end}") for end in ("model.prototxt", "weights.caffemodel"))
        return replace(given, model=model, weights=weights)

    return spoil


def under_a_file(given: Inputs) -> Inputs:
    return replace(given, output=given.policy / "net")


def onto_a_folder(given: Inputs) -> Inputs:
    """The last file that is written is a folder: those before it must not have been replaced."""
    last = given.output.with_name(f"net_{ENDINGS[-1]}")
    last.unlink()
    last.mkdir()
    (last / "kept").write_text("kept", encoding="utf-8")
    return given


def where_nobody_can_write(given: Inputs) -> Inputs:
    return replace(given, output=Path("/proc/amctc/net"))


def under_too_long_a_name(given: Inputs) -> Inputs:
    return replace(given, output=given.output.with_name("n" * 300))


def with_value(value: float) -> NDArray[np.float32]:
    array = random_samples()
    array[3, 1, 2, 2] = value
    return array


def every_layer(settings: str) -> Spoil:
    return policy(f"common_config {{ {settings} }}\n")


def fc(settings: str) -> Spoil:
    return policy(f'override_layer_configs {{ layer_name: "fc" calibration_config {{ {settings} }} }}\n')


@dataclass(frozen=True)
class Case:
    """A spoilt input: the diagnostic's code, where it points, and words that must be in it."""

    spoil: Spoil
    code: str
    place: str | None
    words: str


MODELS = {
    "no model": Case(missing("model"), "AM100", "xnet.prototxt", "there is no file"),
    "no prototxt": Case(lambda given: replace(given, model=given.data), "AM331", "data.npz", "not a model format"),
    "not prototxt": Case(edit('type: "ReLU"', 'type: "ReLU'), "AM101", "net.prototxt:4:", "expected"),
    "missing caffemodel": Case(missing("weights"), "AM310", "xnet.caffemodel", "no such file"),
    "no caffemodel given": Case(no_weights, "AM420", "net.prototxt:3:", "give the weights file"),
    "truncated caffemodel": Case(cut_off, "AM311", "net.caffemodel", "damaged or cut off"),
    "a blob that is cut off": Case(cut_off_inside_a_blob, "AM312", "net.caffemodel", "blob 0 of layer `conv1`"),
    "text for a caffemodel": Case(a_prototxt_for_weights, "AM311", "net.prototxt", "not a readable caffemodel"),
    "blob shapes do not fit": Case(
        edit("num_output: 4", "num_output: 6"), "AM314", "net.prototxt:3:", "shape [6, 3, 3, 3]"
    ),
    "fewer blobs than the layer has": Case(
        edit("kernel_size: 3 pad: 1", "kernel_size: 3 pad: 1 bias_term: false"), "AM314", "net.prototxt:3:", "1 blob"
    ),
    "a layer without weights": Case(
        edit('name: "conv1"', 'name: "conv_1"'), "AM313", "net.prototxt:3:", "did you mean `conv1`?"
    ),
    "unknown layer type": Case(edit('"ReLU"', '"ReLu"'), "AM307", "net.prototxt:4:", "did you mean `ReLU`?"),
    "a bottom nobody produces": Case(
        edit('bottom: "data"', 'bottom: "dat"'), "AM308", "net.prototxt:3:", "did you mean `data`?"
    ),
    "a cycle": Case(edit('bottom: "data"', 'bottom: "fc"'), "AM309", "net.prototxt:3:", "cycle through the blob `fc`"),
    "two layers of one name": Case(edit('name: "relu1"', 'name: "conv1"'), "AM305", "net.prototxt:4:", "two layers"),
    "a kernel larger than its input": Case(
        edit("kernel_size: 3", "kernel_size: 30"), "AM320", "net.prototxt:3:", "`conv1`"
    ),
    "a number out of range": Case(edit("num_output: 5", "num_output: -5"), "AM112", "net.prototxt:5:", "num_output"),
    "the deploy model": Case(
        quantized_before("deploy"), "AM332", "first_deploy_model.prototxt:", "quantized already: layer `conv1"
    ),
    "the fake-quant model": Case(
        quantized_before("fake_quant"), "AM332", "first_fake_quant_model.prototxt:", "quantized already: layer `conv1"
    ),
}

POLICIES = {
    "no policy": Case(missing("policy"), "AM100", "xpolicy.cfg", "there is no file"),
    "not a policy": Case(policy("batch_num 2"), "AM101", "policy.cfg:1:11", "expected"),
    "unknown field": Case(
        policy("do_fusion: true\nbatch_nun: 2"), "AM200", "policy.cfg:2:1", "did you mean `batch_num`?"
    ),
    "unknown nested field": Case(
        every_layer("ifmr_quantize { num_bit: 8 }"), "AM200", "policy.cfg:1:33", "did you mean `num_bits`?"
    ),
    "wrong type": Case(policy("batch_num: true"), "AM201", "policy.cfg:1:12", "whole number"),
    "out of range": Case(policy("batch_num: 0"), "AM210", "policy.cfg:1:12", "at least 1"),
    "negative": Case(policy("batch_num: -2"), "AM202", "policy.cfg:1:12", "out of range"),
    "too many bits": Case(every_layer("ifmr_quantize { num_bits: 17 }"), "AM210", "policy.cfg:1:43", "16"),
    "bits of weights": Case(every_layer("arq_quantize { num_bits: 4 }"), "AM210", "policy.cfg:1:42", "8"),
    "a percentile over 1": Case(
        every_layer("ifmr_quantize { max_percentile: 1.5 }"), "AM210", "policy.cfg:1:49", "max_percentile"
    ),
    "a search that ends before it begins": Case(
        every_layer("ifmr_quantize { search_range_start: 1.4 search_range_end: 1.2 }"),
        "AM212",
        "policy.cfg:1:75",
        "not above its start",
    ),
    "no such layer": Case(policy('skip_layers: "conv2"'), "AM220", "policy.cfg:1:14", "did you mean `conv1`?"),
    "channel_wise on InnerProduct": Case(
        fc("arq_quantize { channel_wise: true }"), "AM227", "policy.cfg:1:93", "write `channel_wise: false`"
    ),
    "every layer skipped": Case(
        policy('skip_layers: ["conv1", "fc"]'), "AM224", "policy.cfg:1:15", "no layer is left to quantize"
    ),
    "not built": Case(policy("joint_quant: true"), "AM290", "policy.cfg:1:14", "write `joint_quant: false`"),
    "rounds of snq_quantize": Case(
        every_layer("snq_quantize { max_iteration: 100 }"), "AM210", "policy.cfg:1:47", "at least 500 and at most 2000"
    ),
    "iterations of update_bn": Case(
        policy("update_bn: true bn_update_config { bn_update_iterations: 1000 }"), "AM210", "policy.cfg:1:58", "1000"
    ),
    "fraction of update_bn": Case(
        policy("update_bn: true bn_update_config { bn_moving_average_fraction: 1.0 }"),
        "AM210",
        "policy.cfg:1:64",
        "bn_moving_average_fraction",
    ),
    "bn_dump_dir is a file": Case(
        policy('update_bn: true bn_update_config { bn_dump_dir: "/dev/null" }'),
        "AM245",
        "policy.cfg:1:49",
        "is not a folder",
    ),
    "bn_dump_dir under a file": Case(
        policy('update_bn: true bn_update_config { bn_dump_dir: "/dev/null/bn" }'),
        "AM245",
        "policy.cfg:1:49",
        "is not a folder",
    ),
    "json, unknown key": Case(
        policy('{"version": 1,\n "batch_nun": 2}', "config.json"),
        "AM228",
        "config.json:2:2",
        "did you mean `batch_num`?",
    ),
    "json, wrong type": Case(
        policy('{"version": 1,\n "batch_num": "2"}', "config.json"), "AM201", "config.json:2:15", "whole number"
    ),
    "json, no such layer": Case(
        policy('{"version": 1,\n "conv2": {"quant_enable": true}}', "config.json"),
        "AM228",
        "config.json:2:2",
        "did you mean `conv1`?",
    ),
    "json, cut off": Case(policy('{"version": 1,', "config.json"), "AM101", "config.json:1:15", "expected"),
}

DATA = {
    "no data": Case(missing("data"), "AM440", "xdata.npz", "did you mean `data.npz`?"),
    "not data": Case(lambda given: replace(given, data=given.policy), "AM440", "policy.cfg", "holds no data"),
    "fewer batches than batch_num": Case(policy("batch_num: 5"), "AM403", None, "5 batches of 2 samples"),
    "fewer samples than a batch": Case(option("--batch-size", "9"), "AM403", None, "only 8 samples"),
    "wrong shape": Case(arrays(data=np.zeros((8, 3, 8, 7), np.float32)), "AM402", "data.npz", "(3, 8, 7)"),
    "wrong key": Case(arrays(dota=np.zeros((8, 3, 8, 8), np.float32)), "AM400", "data.npz", "`dota`"),
    "NaN": Case(arrays(data=with_value(np.nan)), "AM404", "data.npz", "sample 3 of input `data`"),
    "Inf": Case(arrays(data=with_value(np.inf)), "AM404", "data.npz", "sample 3 of input `data`"),
    "text": Case(arrays(data=np.array(["a"] * 8)), "AM442", "data.npz", "not numbers"),
    "objects": Case(arrays(data=np.array([None] * 8)), "AM442", "data.npz", "Python objects"),
    "constant zero": Case(arrays(data=np.zeros((8, 3, 8, 8), np.float32)), "AM405", None, "layer `conv1` are 0"),
    "an unknown step": Case(option("--preprocess", "men=3"), "AM451", "--preprocess:1:1", "did you mean `mean`?"),
    "a step with a wrong value": Case(option("--preprocess", "bgr,scale=x"), "AM452", "--preprocess:1:5", "`scale`"),
    "a step that needs images": Case(
        option("--preprocess", "bgr,center-crop=8"), "AM447", "--preprocess:1:5", "works on images"
    ),
    "a step that does not fit": Case(option("--preprocess", "mean=1:2"), "AM447", "--preprocess:1:1", "3 channels"),
}

OPTIONS = {
    "unknown target": Case(option("--target", "cafe"), "AM701", "--target:1:1", "did you mean `caffe`?"),
    "one unknown target of two": Case(option("--target", "caffe,onx"), "AM701", "--target:1:7", "`onx`"),
    "no text of targets": Case(option("--target", "caffe,"), "AM703", "--target:1:6", "options in braces"),
    "an option the target does not have": Case(
        option("--target", "caffe{level=2}"), "AM502", "--target:1:7", "the target `caffe` has no option `level`"
    ),
    "unknown pass": Case(
        option("--pipeline", "fuse-batchnrm"), "AM501", "--pipeline:1:1", "did you mean `fuse-batchnorm`?"
    ),
    "not a pipeline": Case(option("--pipeline", "fuse-batchnorm,,observe"), "AM500", "--pipeline:1:16", "pipeline"),
    "an option the pass does not have": Case(
        option("--pipeline", "observe{bits=8}"), "AM502", "--pipeline:1:", "no option `bits`"
    ),
    "passes in the wrong order": Case(
        option("--pipeline", "insert-quant,annotate-quant,quantize-weights,observe,calibrate,quantize-bias"),
        "AM504",
        "--pipeline:1:",
        "`insert-quant` must come after",
    ),
    "a pipeline without calibration": Case(
        option("--pipeline", "annotate-quant,quantize-weights,quantize-bias,insert-quant"), "AM505", None, "`calibrate`"
    ),
    "a pipeline that only observes": Case(option("--pipeline", "annotate-quant,observe"), "AM505", None, "needs"),
    "a pass that is there twice": Case(
        option(
            "--pipeline",
            "annotate-quant,quantize-weights,observe,calibrate,quantize-bias,quantize-bias,insert-quant",
        ),
        "AM505",
        None,
        "`quantize-bias` stands in the pipeline 2 times",
    ),
}

OUTPUTS = {
    "a file on the way": Case(under_a_file, "AM700", "policy.cfg/net_", "cannot write"),
    "a folder of that name": Case(onto_a_folder, "AM700", f"net_{ENDINGS[-1]}", "is a directory"),
    "unwritable": Case(where_nobody_can_write, "AM700", "/proc/amctc/net_", "cannot write"),
    "too long a name": Case(under_too_long_a_name, "AM700", "nnn_", "too long"),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in (
        ("model", MODELS),
        ("policy", POLICIES),
        ("data", DATA),
        ("option", OPTIONS),
        ("output", OUTPUTS),
    )
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_told_at_its_place_and_leaves_every_file_as_it_was(case: Case, inputs: Inputs) -> None:
    spoilt = case.spoil(inputs)
    folder = inputs.policy.parent
    before = contents(folder)
    outcome = spoilt.compile()
    assert outcome.status == 1, outcome.stderr
    assert outcome.stdout == ""
    assert f"error[{case.code}]: " in outcome.stderr
    assert case.words in outcome.stderr
    assert "Traceback" not in outcome.stderr
    if case.place is not None:
        places = [line for line in outcome.stderr.splitlines() if line.startswith("  --> ")]
        assert any(case.place in line for line in places), outcome.stderr
    assert contents(folder) == before


def test_the_inputs_that_the_cases_spoil_compile(inputs: Inputs) -> None:
    outcome = inputs.compile()
    assert outcome.status == 0, outcome.stderr
    written = contents(inputs.output.parent)
    assert sorted(written) == sorted(f"net_{ending}" for ending in ENDINGS)
    assert not any(content.startswith(b"what ") for content in written.values())


def test_an_activation_that_is_always_zero_inside_the_net_names_its_layer(inputs: Inputs) -> None:
    text = NET + layer("off", "Power", "fc", "off", "power_param { scale: 0 }")
    text += layer("last", "InnerProduct", "off", "last", "inner_product_param { num_output: 2 }")
    write_net(inputs.model.parent, text)
    outcome = inputs.compile()
    assert outcome.status == 1
    assert "error[AM405]: all activations of layer `last` are 0" in outcome.stderr


def test_all_mistakes_of_a_model_are_told_at_once(inputs: Inputs) -> None:
    edit('"ReLU"', '"RELUX"')(edit('bottom: "data"', 'bottom: "dada"')(inputs))
    outcome = inputs.compile()
    assert outcome.status == 1
    assert "error[AM307]" in outcome.stderr
    assert "error[AM308]" in outcome.stderr


def test_all_mistakes_of_a_policy_are_told_at_once(inputs: Inputs) -> None:
    outcome = policy('batch_num: 0\nskip_layer: "fc"\n')(inputs).compile()
    assert outcome.status == 1
    assert "policy.cfg:1:12" in outcome.stderr
    assert "policy.cfg:2:1" in outcome.stderr


@dataclass(frozen=True)
class Other:
    """Bad input of another command: its arguments after the model and weights."""

    command: str
    arguments: tuple[str, ...]
    code: str
    words: str


OTHERS = {
    "too few labels": Other("eval", ("--labels", "label"), "AM461", "are 6, the data set has 8 samples"),
    "no such labels": Other("eval", ("--labels", "lable"), "AM460", "did you mean `label`?"),
    "too few labels in a file": Other("eval", ("--labels", "labels.csv"), "AM461", "are 3"),
    "no such file of labels": Other("eval", ("--labels", "none.csv"), "AM100", "there is no file"),
    "labels that are not numbers": Other("eval", ("--labels", "words.npy"), "AM4", "words.npy"),
    "no such blob": Other("run", ("-o", "out.npz", "--blobs", "conv2"), "AM408", "did you mean `conv1`?"),
    "a folder for the output": Other("run", ("-o", "."), "AM700", "is a directory"),
}


@pytest.mark.parametrize("case", OTHERS.values(), ids=OTHERS.keys())
def test_bad_input_of_run_and_eval_is_told_and_leaves_every_file_as_it_was(
    case: Other, inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inputs.weights is not None
    folder = inputs.policy.parent
    monkeypatch.chdir(folder)
    np.savez(inputs.data, data=random_samples(), label=np.arange(6))
    (folder / "labels.csv").write_text("1\n2\n3\n", encoding="utf-8")
    np.save(folder / "words.npy", np.array(["cat"] * 8))
    (folder / "out.npz").write_bytes(b"what was here before")
    before = contents(folder)
    outcome = amctc(case.command, inputs.model, inputs.weights, "-d", inputs.data, *case.arguments)
    assert outcome.status == 1, outcome.stderr
    assert outcome.stdout == ""
    assert f"error[{case.code}" in outcome.stderr
    assert case.words in outcome.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(("command", "more"), [("run", ("-o", "out.npz")), ("eval", ("--labels", "label"))])
def test_a_model_without_its_weights_is_not_run(
    command: str, more: tuple[str, ...], inputs: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs.policy.parent)
    np.savez(inputs.data, data=random_samples(), label=np.zeros(SAMPLES, np.int64))
    outcome = amctc(command, inputs.model, "-d", inputs.data, *more)
    assert outcome.status == 1
    assert "error[AM420]: layer `conv1`" in outcome.stderr
    assert "give the weights file too" in outcome.stderr


def test_explain_of_a_layer_that_is_not_there_suggests_the_nearest(inputs: Inputs) -> None:
    outcome = amctc("explain", inputs.model, "-p", inputs.policy, "--layer", "conv2")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "did you mean `conv1`?" in outcome.stderr


def test_config_of_a_policy_that_does_not_fit_leaves_the_file_as_it_was(inputs: Inputs) -> None:
    kept = inputs.policy.with_name("config.json")
    succeed("config", inputs.model, "-p", inputs.policy, "-o", kept)
    before = kept.read_bytes()
    spoilt = policy('skip_layers: "conv2"')(inputs)
    assert amctc("config", inputs.model, "-p", spoilt.policy, "-o", kept).status == 1
    assert kept.read_bytes() == before


def test_a_policy_for_another_model_is_refused_with_each_name(inputs: Inputs) -> None:
    named = policy('skip_layers: ["fire2", "fire3"]')(inputs)
    outcome = named.compile()
    assert outcome.status == 1
    assert "`fire2`" in outcome.stderr
    assert "`fire3`" in outcome.stderr
    assert succeed("check", named.policy)  # on its own it is clean
    assert succeed("check", POLICY)
