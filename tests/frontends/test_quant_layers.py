"""Quant, AntiQuant and DeQuant layers in a file: what they may say, and who may read their integers."""

from __future__ import annotations

from pathlib import Path

import pytest

from amctc.diagnostics import DiagnosticError
from amctc.driver import uninplace_model
from amctc.frontends import load_model
from tests.nets import data, layer, make_net
from tests.quantized import quantize, random_feeds, write_and_read
from tests.targets.test_caffe_target import ALL


def quant(parameter: str, type: str = "Quant", bottom: str = "data", top: str = "q") -> str:
    return layer(top, type, bottom, top, f"quant_param {{ {parameter} }}")


def refusals(folder: Path, text: str) -> list[tuple[str, str]]:
    path = folder / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DiagnosticError) as caught:
        load_model(path)
    return [(told.code, told.message) for told in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("scale: 0", "the `scale` of `quant_param` must be a positive number, not 0"),
        ("scale: -2", "the `scale` of `quant_param` must be a positive number, not -2"),
        ("scale: nan", "the `scale` of `quant_param` must be a positive number, not nan"),
        ("scale: 1e-45", "the `scale` of `quant_param` must be a positive number, not 1.4013e-45"),
        ("num_bits_d: 1", "the `num_bits_d` of `quant_param` must be 2 to 16, not 1"),
        ("num_bits_d: 2000000000", "the `num_bits_d` of `quant_param` must be 2 to 16, not 2000000000"),
        ("offset: 128", "the `offset` of `quant_param` must be -128 to 127 for 8 bits, not 128"),
        ("num_bits_d: 4 offset: -9", "the `offset` of `quant_param` must be -8 to 7 for 4 bits, not -9"),
    ],
)
@pytest.mark.parametrize("kind", ["Quant", "AntiQuant"])
def test_parameters_that_describe_no_grid_are_refused(kind: str, parameter: str, words: str, tmp_path: Path) -> None:
    ((code, message),) = refusals(tmp_path, data() + quant(parameter, kind))
    assert code == "AM320"
    assert words in message


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (
            layer("s", "Softmax", "q", "s"),
            "layer `s` (Softmax): reads `q`, integers (int8), which it cannot compute on",
        ),
        (quant("scale: 2", top="again", bottom="q"), "reads `q`, integers (int8), which are quantized already"),
        (
            layer("c", "Concat", "q data", "c"),
            "reads `q`, integers (int8), and other inputs of other types (float32, int8)",
        ),
        (layer("f", "Flatten", "q", "f") + layer("t", "TanH", "f", "t"), "reads `f`, integers (int8), which it cannot"),
    ],
)
def test_integers_are_read_by_layers_with_weights_and_those_that_move_them_only(
    reader: str, words: str, tmp_path: Path
) -> None:
    ((code, message),) = refusals(tmp_path, data() + quant("scale: 4") + reader)
    assert code == "AM324"
    assert words in message


def test_a_deploy_prototxt_is_written_again_without_its_weights(tmp_path: Path) -> None:
    graph = make_net(tmp_path, ALL)
    write_and_read(quantize(graph, random_feeds(graph, 1)), tmp_path)
    first, again = tmp_path / "net_deploy_model.prototxt", tmp_path / "again.prototxt"
    uninplace_model(first, again)
    uninplace_model(again, tmp_path / "third.prototxt")
    lines = again.read_text(encoding="utf-8").splitlines()
    for said in ("scale:", "offset:", "object_layer:", "num_bits_d:", "num_bits_w:", "channel_wise:", "index:"):
        kept = [line.strip() for line in lines if said in line]
        assert kept
        assert kept == [line.strip() for line in first.read_text(encoding="utf-8").splitlines() if said in line]
    assert (tmp_path / "third.prototxt").read_text(encoding="utf-8") == again.read_text(encoding="utf-8")
