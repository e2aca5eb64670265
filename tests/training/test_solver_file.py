"""Solver files: what they say, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import Collector, DiagnosticError
from amctc.training.solver_file import SolverFile, read_solver_file
from tests.shared_files import GOLDEN, needs_golden

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } include { stage: "a" } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
"""
PLAIN = 'net: "net.prototxt" lr_policy: "fixed" base_lr: 0.5\n'


def read(folder: Path, text: str, collector: Collector | None = None) -> SolverFile:
    (folder / "solver.prototxt").write_text(text)
    (folder / "net.prototxt").write_text(NET)
    return read_solver_file(folder / "solver.prototxt", collector or Collector())


def refusals(folder: Path, text: str) -> list[str]:
    """Code, place in the text, and message of each diagnostic."""
    with pytest.raises(DiagnosticError) as caught:
        read(folder, text)
    found = []
    for diagnostic in caught.value.diagnostics:
        assert diagnostic.span is not None
        found.append(f"{diagnostic.code} at `{diagnostic.span.text}`: {diagnostic.message} | {diagnostic.help}")
    return found


def test_what_is_not_said_has_caffes_default(tmp_path: Path) -> None:
    file = read(tmp_path, PLAIN)
    assert (file.type, file.rate.policy, file.rate.base_lr) == ("SGD", "fixed", 0.5)
    assert (file.momentum, file.momentum2, file.rms_decay, file.delta) == (0, 0.999, 0.99, 1e-8)
    assert (file.weight_decay, file.regularization, file.clip_gradients) == (0, "L2", -1)
    assert (file.iter_size, file.average_loss, file.max_iter, file.display, file.snapshot) == (1, 1, 0, 0, 0)
    assert (file.test_initialization, file.snapshot_after_train, file.test_compute_loss) == (True, True, False)
    assert (file.random_seed, file.on_gpu, file.device_id, file.tests, file.weights) == (None, True, 0, (), ())
    assert file.snapshot_prefix == str(tmp_path / "solver")


def test_a_prefix_that_is_a_folder_gets_the_name_of_the_solver_file(tmp_path: Path) -> None:
    file = read(tmp_path, PLAIN + f'snapshot_prefix: "{tmp_path}"')
    assert file.snapshot_prefix == str(tmp_path / "solver")
    assert read(tmp_path, PLAIN + 'snapshot_prefix: "out/net"').snapshot_prefix == "out/net"


@needs_golden
@pytest.mark.parametrize(("name", "type"), [("enum", "Adam"), ("nesterov", "Nesterov")])
def test_the_old_type_is_upgraded_as_caffe_upgrades_it(name: str, type: str, tmp_path: Path) -> None:
    legacy = GOLDEN / "caffe/legacy"
    texts = [(legacy / f"solver_type_{name}{end}.prototxt").read_text() for end in ("", ".upgraded")]
    both = [read(tmp_path, text + "test_interval: 5 ") for text in texts]
    assert both[0] == both[1] and both[0].type == type


@pytest.mark.parametrize("old", ["SGD", "NESTEROV", "ADAGRAD", "RMSPROP", "ADADELTA", "ADAM"])
def test_every_old_type_has_a_new_name(old: str, tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN + f"solver_type: {old}").type.upper() == old


def test_nets_are_looked_for_from_the_working_directory_and_then_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    file = read(tmp_path, PLAIN + 'weights: "a.caffemodel, b.caffemodel" weights: "c.caffemodel"')
    assert file.train.net == tmp_path / "net.prototxt"
    assert [str(path) for path in file.weights] == ["a.caffemodel", "b.caffemodel", "c.caffemodel"]
    (elsewhere / "net.prototxt").write_text(NET)
    assert read_solver_file(file.path, Collector()).train.net == Path("net.prototxt")


def test_test_nets_come_in_caffes_order_with_their_states(tmp_path: Path) -> None:
    text = (
        'net: "net.prototxt" lr_policy: "fixed" test_interval: 7\n'
        'test_net: "file.prototxt" test_iter: 1 test_iter: 2 test_iter: 3 test_iter: 4\n'
        f"test_net_param {{ {NET} }}\n"
        'test_state { stage: "a" } test_state { level: 3 } test_state { phase: TRAIN } test_state { }\n'
        'train_state { level: 2 stage: "b" }'
    )
    file = read(tmp_path, text)
    assert [test.label for test in file.tests] == ["test_net_param", "test_net", "net", "net"]
    assert [test.iterations for test in file.tests] == [1, 2, 3, 4]
    states = [test.state({}) for test in file.tests]
    assert [(state.phase, state.level, state.stages) for state in states] == [
        ("TEST", 0, frozenset({"a"})),
        ("TEST", 3, frozenset()),
        ("TRAIN", 0, frozenset()),
        ("TEST", 0, frozenset()),
    ]
    trained = file.train.state({"level": 5, "phase": "TEST", "stage": ("c",)})
    assert (trained.phase, trained.level, trained.stages) == ("TEST", 2, frozenset({"b"}))
    assert file.train.state({"level": 5}).level == 2 and file.tests[0].state({"level": 5}).level == 5


def test_a_net_may_stand_in_the_solver_file_itself(tmp_path: Path) -> None:
    file = read(tmp_path, f'net_param {{ name: "own" {NET} }} lr_policy: "fixed"')
    net = file.train.read(Collector())
    assert net.name == "own" and [layer.name for layer in net.layers] == ["data", "ip"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('type: "ADAM"', 'AM912 at `"ADAM"`: `type` cannot be `ADAM`; it is one of SGD, Nesterov'),
        ('type: "ADAM"', "did you mean `Adam`?"),
        ('type: "Nestrov"', "did you mean `Nesterov`?"),
        ('lr_policy: "fixd"', "did you mean `fixed`?"),
        ('lr_policy: "steps"', "did you mean `step`?"),
        ('weight_decay: 1 regularization_type: "L3"', 'AM912 at `"L3"`: `regularization_type` cannot be `L3`'),
        ('lr_policy: "step"', 'AM913 at `"step"`: `stepsize` is missing; it must be 1 or more for `step`'),
        ('lr_policy: "step" stepsize: 0', "AM913 at `0`: `stepsize` is 0, and must be 1 or more"),
        ('lr_policy: "sigmoid" gamma: -1 stepsize: 1', "AM913 at `-1`: `gamma` is -1, and must not be negative"),
        ('lr_policy: "exp" gamma: -1', "AM913 at `-1`"),
        ('lr_policy: "inv" gamma: -1', "AM913 at `-1`"),
        ('lr_policy: "multistep" gamma: -1', "AM913 at `-1`"),
        ("stepvalue: -5", "AM913 at `-5`"),
        ("base_lr: inf", "AM913 at `inf`: `base_lr` is inf"),
        ("momentum: nan", "AM913 at `nan`"),
        ("iter_size: 0", "AM913 at `0`: `iter_size` is 0, and must be 1 or more"),
        ("average_loss: 0", "AM913 at `0`: `average_loss` is 0"),
        ("max_iter: -1", "AM913 at `-1`: `max_iter`"),
        ("display: -1", "AM913 at `-1`: `display`"),
        ("snapshot: -1", "AM913 at `-1`: `snapshot`"),
        ("test_interval: -1", "AM913 at `-1`: `test_interval`"),
        ("device_id: -1", "AM913 at `-1`: `device_id`"),
        ('type: "AdaGrad" momentum: 0.9', "AM914 at `0.9`: `momentum` cannot be used with AdaGrad"),
        ('type: "RMSProp" momentum: 0.9', "AM914 at `0.9`: `momentum` cannot be used with RMSProp"),
        ('type: "RMSProp" rms_decay: 1', "AM913 at `1`: `rms_decay` is 1, and must lie in 0 … 1"),
        ('type: "RMSProp" rms_decay: -0.1', "AM913 at `-0.1`: `rms_decay`"),
        ('solver_type: ADAM type: "Adam"', "AM914 at `type`: `solver_type` and `type` are both set"),
        ("snapshot_format: HDF5", "AM915 at `HDF5`: snapshots in HDF5 are not written"),
        ('train_net: "a.prototxt"', "AM910 at `net`: the net to train is named more than once: by `train_net`, `net`"),
        ("test_iter: 5", "AM911 at `5`: `test_interval` must be 1 or more"),
        ("test_iter: 5 test_interval: 0", "AM911 at `0`: `test_interval` must be 1 or more"),
        ("test_iter: -5 test_interval: 1", "AM913 at `-5`"),
        ('test_net: "a.prototxt"', "AM911 at `test_net`: there are 0 `test_iter` for 1 test net"),
        ("test_iter: 1 test_interval: 1 test_state {} test_state {}", "AM911"),
        ("momentumm: 0.9", "AM110 at `momentumm`"),
        ("momentumm: 0.9", "did you mean `momentum`"),
        ('base_lr: "much"', 'AM111 at `"much"`'),
        ("solver_mode: TPU", "AM113 at `TPU`"),
    ],
)
def test_what_caffe_refuses_is_refused_where_it_stands(more: str, expected: str, tmp_path: Path) -> None:
    assert expected in "\n".join(refusals(tmp_path, PLAIN + more))


def test_a_solver_without_net_or_policy_is_told_of_both(tmp_path: Path) -> None:
    found = refusals(tmp_path, "max_iter: 5")
    assert [line[:5] for line in found] == ["AM912", "AM910"]


def test_a_policy_by_file_of_tests_alone_needs_as_many_iterations(tmp_path: Path) -> None:
    text = 'train_net: "net.prototxt" lr_policy: "fixed" test_iter: 1 test_iter: 2 test_net: "a" test_interval: 1'
    assert "AM911 at `2`: there are 2 `test_iter` for 1 test net |" in refusals(tmp_path, text)[0]


def test_a_word_that_counts_for_nothing_is_no_mistake(tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN + 'regularization_type: "L3"').regularization == "L2"


def test_settings_without_effect_are_warned_of(tmp_path: Path) -> None:
    collector = Collector()
    read(tmp_path, PLAIN + "debug_info: true snapshot_diff: true", collector)
    assert [diagnostic.code for diagnostic in collector.warnings] == ["AM915", "AM915"]


def test_a_type_that_the_caller_wants_counts_and_is_checked(tmp_path: Path) -> None:
    path = read(tmp_path, PLAIN + "momentum: 0.9").path
    assert read_solver_file(path, Collector(), "Nesterov").type == "Nesterov"
    with pytest.raises(DiagnosticError, match="AM914"):
        read_solver_file(path, Collector(), "AdaGrad")


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match="AM100"):
        read_solver_file(tmp_path / "none.prototxt", Collector())
    with pytest.raises(DiagnosticError, match="AM102"):
        read(tmp_path, "#" * (1 << 24) + "\n")


@needs_golden
def test_every_recorded_solver_file_is_read() -> None:
    paths = [path for folder in ("train", "lr") for path in (GOLDEN / "caffe" / folder).glob("*.solver.prototxt")]
    assert len(paths) == 64
    for path in paths:
        collector = Collector()
        assert read_solver_file(path, collector).random_seed == 1 and not collector.diagnostics
