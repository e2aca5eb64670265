"""Plug-ins that break while `amctc compile` runs them: the owner is named, files stay, a reproducer is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.command import Outcome, amctc
from tests.nets import conv, data, layer, write_net
from tests.plugin_texts import HEAD

pytestmark = pytest.mark.usefixtures("fresh_process")

PASS = '''
@amctc.register_pass
@dataclass(frozen=True)
class Broken(amctc.Pass):
    """Break."""
    name: ClassVar[str] = "broken"
    before: ClassVar[tuple[str, ...]] = ("annotate-quant",)
    preserves_numbers: ClassVar[bool] = True
    def run(self, graph, context):
        relu = graph.node("relu")
'''

TARGET = '''
@amctc.register_target
class Odd(amctc.Target):
    """Break."""
    name: ClassVar[str] = "odd"
    def emit(self, graph):
'''


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a net, a policy, data, and the files of an earlier compilation."""
    write_net(
        tmp_path, data() + conv("conv", "data", 4) + layer("relu", "ReLU", "conv", "relu") + conv("last", "relu", 2)
    )
    (tmp_path / "policy.cfg").write_text("batch_num: 1\n", encoding="utf-8")
    np.savez(tmp_path / "data.npz", data=np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
    (tmp_path / "net_deploy_model.prototxt").write_text("earlier", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compile_with(net: Path, plugin: str, *options: str) -> Outcome:
    (net / "plugin.py").write_text(HEAD + plugin, encoding="utf-8")
    files = ("net.prototxt", "net.caffemodel", "--policy", "policy.cfg", "--data", "data.npz", "--output", "net")
    return amctc("compile", *files, "--plugin", "plugin.py", *options)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("        return relu.attrs['none']", "`broken` failed with KeyError: 'none' at layer `relu`"),
        ("        pass", "`broken` returned None where `run` says by True or False"),
        (
            "        graph.topology.remove_edge('conv', 'relu', 0)\n        return True",
            "`broken` left a broken graph: 'relu' has 0 inputs, and caffe.ReLU takes 1",
        ),
        (
            "        while True:\n            graph.insert_after(relu.output, graph.unused_name('more'), 'caffe.ReLU')",
            "`broken` does not come to an end",
        ),
    ],
)
def test_a_pass_that_breaks_is_told_with_owner_and_reproducer(body: str, words: str, net: Path) -> None:
    done = compile_with(net, PASS + body, "--pipeline", "broken,ptq")
    assert done.status == 1, done.stderr
    assert done.stderr.startswith("error[AM527]: the pass ")
    assert words in done.stderr
    assert "`broken`, which belongs to plugin.py" in done.stderr
    assert (net / "net_deploy_model.prototxt").read_text(encoding="utf-8") == "earlier"
    command = re.search(r"this shows the failure again: `amctc ([^`]*)`", done.stderr)
    assert command is not None
    again = amctc(*shlex.split(command[1]))
    assert again.status == 1
    assert words in again.stderr
    assert "this is the failure of the reproducer" in again.stdout


def test_a_pass_that_never_settles_is_told_with_its_round(net: Path) -> None:
    body = "        graph.insert_after(relu.output, graph.unused_name('more'), 'caffe.ReLU')\n        return True"
    done = compile_with(net, PASS + body, "--pipeline", "fixpoint{limit=3}(broken),ptq")
    assert done.status == 1
    assert "`broken` still changes the graph in round 3 of `fixpoint{limit=3}(broken)`" in done.stderr


def test_numbers_that_a_pass_changes_are_told_at_the_first_layer(net: Path) -> None:
    body = "        conv = graph.node('conv')\n        conv.weights['weight'] = conv.weights['weight'] * 2\n"
    plugin = PASS + body + "        return True"
    assert compile_with(net, plugin, "--pipeline", "broken,ptq").status == 0
    (net / "net_deploy_model.prototxt").write_text("earlier", encoding="utf-8")
    done = compile_with(net, plugin, "--pipeline", "broken,ptq", "--check-equivalence")
    assert done.status == 1
    assert done.stderr.startswith("error[AM530]")
    assert "`conv`" in done.stderr and "`broken`" in done.stderr
    assert "a reproducer is in" in done.stderr
    assert (net / "net_deploy_model.prototxt").read_text(encoding="utf-8") == "earlier"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("        return {'a.txt': b'', **graph.nothing}", "`odd` failed with AttributeError"),
        ("        return {'a.txt': 'text'}", "gives str for `a.txt`, where bytes are expected"),
        ("        return {'../a.txt': b'x'}", "gives the path `../a.txt`, where a name is expected"),
        ("        return None", "`odd` failed with TypeError"),
    ],
)
def test_a_target_that_breaks_is_told_with_its_owner(body: str, words: str, net: Path) -> None:
    done = compile_with(net, TARGET + body, "--target", "caffe,odd")
    assert done.status == 1, done.stderr
    assert "error[AM528]" in done.stderr
    assert words in done.stderr
    assert "belongs to plugin.py" in done.stderr
    assert (net / "net_deploy_model.prototxt").read_text(encoding="utf-8") == "earlier"


def test_two_targets_do_not_write_different_things_into_one_file(net: Path) -> None:
    done = compile_with(net, "", "--target", "caffe,onnx,onnx{opset=20}")
    assert done.status == 1
    assert "error[AM702]" in done.stderr
    assert (net / "net_deploy_model.prototxt").read_text(encoding="utf-8") == "earlier"


def test_a_policy_brings_its_passes_into_the_pipeline(net: Path) -> None:
    body = "        relu.record(self.name, 'was here')\n        return True"
    (net / "policy.cfg").write_text(
        'batch_num: 1\npass { name: "broken" }\npass { name: "observe" option { key: "observer" value: "ifmr" } }\n',
        encoding="utf-8",
    )
    done = compile_with(net, PASS + body, "--time-passes")
    assert done.status == 0, done.stderr
    names = [line.split()[1] for line in done.stderr.splitlines() if re.match(r"\s*\d+ ", line)]
    assert names == [
        "fuse-batchnorm",
        "depthwise-affine",
        "broken",
        "annotate-quant",
        "balance-channels",
        "quantize-weights",
        "observe",
        "calibrate",
        "quantize-bias",
        "insert-quant",
    ]


def test_mistakes_in_the_passes_of_a_policy_are_told_at_their_places(net: Path) -> None:
    text = 'pass { name: "brokn" }\npass { name: "observe" option { key: "bits" value: "8" } }\n'
    (net / "policy.cfg").write_text(text, encoding="utf-8")
    done = compile_with(net, PASS + "        return False")
    assert done.status == 1
    assert "policy.cfg:1:14" in done.stderr and "did you mean `broken`?" in done.stderr
    assert "policy.cfg:2:38" in done.stderr and "has no option `bits`" in done.stderr
    checked = amctc("check", "policy.cfg", "--plugin", "plugin.py")
    assert checked.status == 1
    assert "policy.cfg:1:14" in checked.stderr and "policy.cfg:2:38" in checked.stderr
