"""Damaged and hostile reproducers: `amctc replay` and `amctc reduce` refuse them, and leave nothing behind."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.broken_passes import failing, loaded
from tests.e2e.command import amctc


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plug-in, loaded in this process too; the working folder is that of the test."""
    with loaded(tmp_path, monkeypatch) as path:
        yield path


def rewritten(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    """Changes the text of one file."""

    def apply(folder: Path) -> None:
        path = folder / name
        path.write_text(change(path.read_text("utf-8")), encoding="utf-8")

    return apply


def field(name: str, value: object) -> Callable[[Path], None]:
    """Changes one field of the index."""
    return rewritten("reproducer.json", lambda text: json.dumps({**json.loads(text), name: value}))


def weights(change: Callable[[dict[str, Any]], object], packed: bool = False) -> Callable[[Path], None]:
    """Changes the arrays."""

    def apply(folder: Path) -> None:
        with np.load(folder / "weights.npz") as file:
            arrays: dict[str, Any] = dict(file)
        change(arrays)
        (np.savez_compressed if packed else np.savez)(folder / "weights.npz", **arrays)

    return apply


class Evil:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


def pickled(folder: Path) -> None:
    with zipfile.ZipFile(folder / "weights.npz", "w") as archive:
        for name in ("b0/weight", "b1/weight", "tail/weight"):
            archive.writestr(f"{name}.npy", pickle.dumps(Evil()))


def objects(arrays: dict[str, Any]) -> None:
    arrays["b0/weight"] = np.array([Evil()], object)


def shorter(arrays: dict[str, Any]) -> None:
    arrays["b0/weight"] = arrays["b0/weight"][:1]


def piped(folder: Path) -> None:
    (folder / "weights.npz").unlink()
    os.mkfifo(folder / "weights.npz")


def bomb(arrays: dict[str, Any]) -> None:
    arrays["b0/weight"] = np.zeros(1 << 22, np.float32)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rewritten("graph.ir", lambda text: text.replace('"weights.npz"', '"../weights.npz"')), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace('"weights.npz"', '"/etc/passwd"')), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace('"weights.npz"', '"batch.npz"')), "AM534"),
        (rewritten("graph.ir", lambda text: text.replace('"b0/weight"', '"b9/weight"')), "no array `b9/weight`"),
        (
            rewritten("graph.ir", lambda text: text.replace("float32[4, 4, 3, 3]", "float32[4, 4, 9, 9]")),
            "not float32[4",
        ),
        (rewritten("graph.ir", lambda text: text.replace("caffe.Pooling", "nobody.Pooling")), "`nobody.Pooling`"),
        (rewritten("graph.ir", lambda text: text.replace('("b1/relu")', '("b1/relu", "b1")')), "AM534"),
        (
            rewritten("graph.ir", lambda text: text.replace("attrs {", "attrs {a: " + "[" * 3000 + "]" * 3000 + ", ")),
            "AM150",
        ),
        (rewritten("graph.ir", lambda text: text.replace("num_output: 4", "num_output: " + "4" * 5000)), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace('"pool"', r'"p\q"')), "AM150"),
        (rewritten("graph.ir", lambda text: text.replace("[2, 3, 8, 8]", "[2, -3, 8, 8]")), "AM150"),
        (rewritten("reproducer.json", lambda text: text[:40]), "not JSON"),
        (rewritten("reproducer.json", lambda text: "[" * 100_000), "not JSON"),
        (rewritten("reproducer.json", lambda text: "[]"), "`version`"),
        (rewritten("policy.json", lambda text: text.replace("true", '"yes"')), "not the policy"),
        (rewritten("policy.json", lambda text: text.replace('"layers"', '"players"')), "not the policy"),
        (rewritten("policy.json", lambda text: "{}"), "not the policy"),
        (field("version", 99), "`version`"),
        (field("pipeline", ["crashing"]), "`pipeline`"),
        (field("pipeline", "no-such-pass"), "AM501"),
        (field("pipeline", "crashing{"), "AM500"),
        (field("failure", {"pass": 1}), "`failure`"),
        (field("plugins", "x.py"), "`plugins`"),
        (field("plugins", ["/elsewhere/evil.py"]), "AM535"),
        (field("check_equivalence", -1), "`check_equivalence`"),
        (field("batch", [1]), "`batch`"),
        (field("batch", ["data", "more"]), "no array `1`"),
        (field("data", {"data": "x"}), "`data`"),
        (weights(objects), "AM442"),
        (weights(shorter), "not float32[4"),
        (weights(bomb, packed=True), "not packed"),
        (weights(lambda arrays: arrays.clear()), "AM534"),
        (pickled, "AM441"),
        (piped, "not a regular file"),
        (lambda folder: (folder / "graph.ir").unlink(), "AM100"),
        (lambda folder: (folder / "weights.npz").write_bytes(b"PK nothing"), "AM441"),
        (lambda folder: (folder / "graph.ir").write_bytes(b"\xff\xfe\x00"), "AM105"),
    ],
)
def test_a_hostile_folder_is_refused_with_a_diagnostic(
    damage: Callable[[Path], None], words: str, plugin: Path, tmp_path: Path
) -> None:
    folder = failing(tmp_path, "fuse-batchnorm,crashing", plugin=plugin, policy="")
    damage(folder)
    before = sorted(path.name for path in tmp_path.iterdir())
    for command in ("replay", "reduce"):
        outcome = amctc(command, folder, "--plugin", plugin)
        assert outcome.status == 1, outcome.stderr
        assert "error[AM" in outcome.stderr
        assert words in " ".join(outcome.stderr.split())
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    outcome = amctc("replay", tmp_path / "nowhere")
    assert (outcome.status, "AM534" in outcome.stderr) == (1, True)
