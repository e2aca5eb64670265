"""fold-split: the readers of a Split read its input; outputs of the network keep their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nets import conv, data, layer, make_net
from tests.passes.clean_ups import check_same, names, reasons
from tests.quantized import run_passes


def split(bottom: str, *tops: str) -> str:
    written = " ".join(f'top: "{top}"' for top in tops)
    return f'layer {{ name: "split" type: "Split" bottom: "{bottom}" {written} }}\n'


def test_the_readers_of_a_split_read_its_input(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + split("c", "a", "b") + layer("ra", "ReLU", "a", "a")
    graph = make_net(tmp_path, text + layer("rb", "Sigmoid", "b", "rb") + layer("sum", "Eltwise", "a rb", "out"))
    after, context = check_same(graph, "fold-split")
    assert names(after) == ["data", "c", "ra", "rb", "sum"]
    assert not context.refusals
    assert "Split `split`" in after.node("c").provenance.changes[-1].what


def test_a_split_of_an_input_goes_where_layers_read_its_tops(tmp_path: Path) -> None:
    text = data() + split("data", "a", "b") + layer("ra", "ReLU", "a", "ra") + layer("rb", "Sigmoid", "b", "rb")
    after, _ = check_same(make_net(tmp_path, text), "fold-split")
    assert "split" not in after


def test_an_output_of_the_network_keeps_its_name(tmp_path: Path) -> None:
    after, _ = check_same(make_net(tmp_path, data() + conv("c", "data", 4) + split("c", "out")), "fold-split")
    assert "split" not in after
    assert [value.blob for value in after.outputs] == ["out"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (conv("c", "data", 4) + split("c", "a", "b"), "two outputs of the network, `a` and `b`"),
        (
            conv("c", "data", 4) + split("c", "a", "out") + layer("relu", "ReLU", "a", "r"),
            "`relu` would read the output `out`",
        ),
        (split("data", "a", "b") + layer("relu", "ReLU", "a", "r"), "would be its input `data` itself"),
        (
            conv("c", "data", 4)
            + split("c", "a", "b")
            + layer("e", "Eltwise", "a data2", "a")
            + layer("s", "ReLU", "b", "s"),
            "in place",
        ),
    ],
)
def test_a_split_that_must_stay_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    inputs = data() + data("2 4 6 6", "data2")
    after, context = check_same(make_net(tmp_path, inputs + text), "fold-split")
    assert "split" in after
    assert reason in reasons(context)["split"]


def test_a_split_that_the_policy_names_stays(tmp_path: Path) -> None:
    text = data() + conv("c", "data", 4) + split("c", "a", "b") + layer("relu", "ReLU", "a", "r")
    graph = make_net(tmp_path, text + layer("s", "Sigmoid", "b", "s"))
    policy = 'override_layer_configs { layer_name: "split" calibration_config { ifmr_quantize { } } }'
    context = run_passes(graph, "fold-split", policy)
    assert "split" in graph
    assert "the policy has it quantized" in reasons(context)["split"]
