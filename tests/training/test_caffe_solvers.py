"""`caffe.SGDSolver` and its kin, as training scripts use them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from amctc.compat import caffe
from tests.shared_files import GOLDEN, needs_golden
from tests.training.small_nets import MEMORY, memory_data, solver_in

TRAIN = GOLDEN / "caffe/train"
DATA = memory_data()["data"]
INPUTS = (
    'layer { name: "in" type: "Input" top: "data" top: "label" '
    "input_param { shape { dim: 3 dim: 2 dim: 4 dim: 4 } shape { dim: 3 } } }"
)


def fed(path: Path) -> caffe.SGDSolver:
    solver = caffe.SGDSolver(str(path))
    for net in (solver.net, *solver.test_nets):
        net.set_input_arrays(np.concatenate([DATA["data"]] * 3), np.concatenate([DATA["label"]] * 3))
    return solver


@needs_golden
def test_a_script_trains_as_caffe_does() -> None:
    solver = caffe.get_solver(str(TRAIN / "small_lenet__nesterov.solver.prototxt"))
    solver.net.copy_from(TRAIN / "small_lenet.init.caffemodel")
    with np.load(TRAIN / "batches.npz") as arrays:
        solver.net.set_input_arrays(arrays["data"].astype(np.float32), arrays["label"].astype(np.float32))
    held = solver.net.params["ip1"][0].data
    with np.load(TRAIN / "small_lenet__nesterov.npz") as recorded:
        for iteration in range(1, 6):
            solver.step(1)
            assert solver.iter == iteration
            assert solver.net.blobs["loss"].data == pytest.approx(recorded["loss_per_forward"][iteration - 1], rel=1e-6)
        assert np.abs(held - recorded["after5/ip1/0"]).max() < 2e-6, "an array in hand is the weight itself"


def test_blobs_weights_and_gradients_are_those_of_the_last_pass(tmp_path: Path) -> None:
    solver = fed(solver_in(tmp_path, MEMORY, "test_iter: 1 test_interval: 100"))
    net = solver.net
    solver.step(2)
    assert list(net.blobs) == ["data", "label", "conv", "ip", "loss"] and net.outputs == ["loss"] and net.inputs == []
    assert [len(blobs) for blobs in net.params.values()] == [2, 3, 2] and list(net.params) == ["conv", "bn", "ip"]
    assert np.array_equal(net.blobs["data"].data, DATA["data"][[3, 4, 5]])
    assert net.blobs["ip"].data.shape == net.blobs["ip"].diff.shape == (3, 2)
    assert net.blobs["ip"].diff.any() and net.params["ip"][0].diff.any() and not net.params["bn"][0].diff.any()
    assert [layer.type for layer in net.layers][:2] == ["MemoryData", "Convolution"]
    assert net.bottom_names["loss"] == ["ip", "label"] and net.layer_dict["ip"].blobs is not None
    solver.net.clear_param_diffs()
    assert not net.params["ip"][0].diff.any()


def test_what_a_script_writes_counts_from_the_next_pass_on(tmp_path: Path) -> None:
    solver = fed(solver_in(tmp_path, MEMORY))
    solver.net.params["ip"][0].data[...] = 0
    solver.net.params["ip"][1].data[...] = 0
    assert solver.net.forward(["ip"])["ip"].tolist() == [[0, 0]] * 3
    assert solver.net.blobs["loss"].data == pytest.approx(np.log(2), rel=1e-6)


def test_inputs_are_what_a_script_writes_into_them(tmp_path: Path) -> None:
    solver = caffe.SGDSolver(str(solver_in(tmp_path, INPUTS)))
    net = solver.net
    assert net.inputs == ["data", "label"]
    net.blobs["data"].data[...] = DATA["data"][:3]
    net.blobs["label"].data[...] = [0, 1, 0]
    solver.step(1)
    assert np.array_equal(net.blobs["data"].data, DATA["data"][:3])
    first = float(net.blobs["loss"].data)
    solver.step(20)
    assert net.blobs["loss"].data < first
    assert set(net.forward(data=DATA["data"][3:6], label=np.zeros(3))) == {"loss"}


def test_a_script_may_make_the_update_itself(tmp_path: Path) -> None:
    solver, other = fed(solver_in(tmp_path, MEMORY)), fed(tmp_path / "solver.prototxt")
    calls: list[str] = []
    other.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    other.step(1)
    solver.net.clear_param_diffs()
    solver.net.forward()
    solver.net.backward()
    solver.apply_update()
    assert np.array_equal(solver.net.params["ip"][0].data, other.net.params["ip"][0].data)
    assert calls == ["start", "gradients"] and solver.iter == 0
    with pytest.raises(RuntimeError, match="AM661"):
        solver.net.backward()


def test_test_nets_have_the_weights_that_are_trained(tmp_path: Path) -> None:
    solver = fed(solver_in(tmp_path, MEMORY, "test_iter: 1 test_interval: 100"))
    (test_net,) = solver.test_nets
    solver.step(3)
    assert np.array_equal(test_net.params["conv"][0].data, solver.net.params["conv"][0].data)
    assert set(test_net.forward()) == {"accuracy", "loss"}
    with pytest.raises(RuntimeError, match="AM661"):
        test_net.backward()


def test_solving_snapshots_and_restoring(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY, "max_iter: 4 snapshot: 2")
    whole = fed(path)
    whole.solve()
    assert whole.iter == 4 and (whole.param.max_iter, whole.param.display) == (4, 0)
    resumed = fed(path)
    resumed.solve(str(tmp_path / "run_iter_2.solverstate"))
    for layer, blobs in whole.net.params.items():
        for one, other in zip(blobs, resumed.net.params[layer], strict=True):
            assert np.array_equal(one.data, other.data), layer
    resumed.net.save(tmp_path / "saved.caffemodel")
    assert (tmp_path / "saved.caffemodel").read_bytes() == (tmp_path / "run_iter_4.caffemodel").read_bytes()


def test_a_deploy_net_shares_weights_with_the_one_that_trains(tmp_path: Path) -> None:
    solver = fed(solver_in(tmp_path, MEMORY))
    (tmp_path / "deploy.prototxt").write_text((tmp_path / "net.prototxt").read_text().replace(MEMORY, INPUTS))
    deploy = caffe.Net(str(tmp_path / "deploy.prototxt"), caffe.TEST)
    deploy.share_with(solver.net)
    deploy.blobs["data"].data[...] = DATA["data"][:3]
    before = deploy.forward(["ip"])["ip"].copy()
    solver.step(1)
    assert not np.array_equal(deploy.forward(["ip"])["ip"], before)


def test_a_class_decides_the_type_of_solver(tmp_path: Path) -> None:
    path = str(solver_in(tmp_path, MEMORY))
    for kind in (caffe.NesterovSolver, caffe.AdaDeltaSolver, caffe.AdamSolver):
        assert kind(path).iter == 0
    for refused in (caffe.AdaGradSolver, caffe.RMSPropSolver):
        with pytest.raises(RuntimeError, match="AM914"):
            refused(path)


def test_a_seed_of_the_process_counts_where_the_file_has_none(tmp_path: Path) -> None:
    path = solver_in(tmp_path, MEMORY)
    path.write_text(path.read_text().replace("random_seed: 5", ""))
    found = []
    for seed in (1, 1, 2):
        caffe.set_random_seed(seed)
        found.append(caffe.SGDSolver(str(path)).net.params["conv"][0].data.copy())
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_mistakes_are_runtime_errors(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="AM100"):
        caffe.SGDSolver("none.prototxt")
    solver = caffe.SGDSolver(str(solver_in(tmp_path, MEMORY)))
    with pytest.raises(RuntimeError, match="AM666"):
        solver.step(1)
    with pytest.raises(KeyError, match="did you mean"):
        solver.net.forward(["conw"])


def test_the_module_is_imported_without_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import sys; from amctc.compat import caffe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setattr("amctc.torch_missing.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="AM900"):
        caffe.get_solver(str(solver_in(tmp_path, MEMORY)))
