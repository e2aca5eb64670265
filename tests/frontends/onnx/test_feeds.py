"""What is fed becomes the element type of the input, exactly or not at all; free axes take their length from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from amctc.diagnostics import DiagnosticError
from amctc.driver.data import open_dataset
from amctc.driver.run import run_blobs
from tests.frontends.onnx.models import codes, loaded, model_of, run

TOKEN = 2**24 + 1
"""The first integer that float32 does not hold."""


@pytest.mark.parametrize("kind", ["int64", "int32", "double"])
@pytest.mark.parametrize("form", ["array", "list", "batches", "file"])
def test_numbers_beyond_float32_arrive_whole(kind: str, form: str, tmp_path: Path) -> None:
    graph = loaded(model_of(f"g ({kind}[N, 2] x) => ({kind}[N, 2] y) {{ y = Identity (x) }}"), tmp_path)
    numbers = np.array([[TOKEN, 1], [2, 3], [4, TOKEN]])
    data: Any = {"array": numbers, "list": list(numbers), "batches": iter([numbers])}.get(form)
    if form == "file":
        data = str(tmp_path / "data.npz")
        np.savez(data, x=numbers)
    dataset = open_dataset(graph, data)
    batches = list(dataset.batches(2))
    assert np.concatenate([batch["x"] for batch in batches]).tolist() == numbers.tolist()
    assert run(graph, batches[0])[0].tolist() == numbers[:2].tolist()


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [("int64", [0.5]), ("int64", [np.nan]), ("uint8", [256]), ("int8", [-129]), ("bool", [2]), ("float16", [2049])],
)
def test_numbers_that_the_input_does_not_hold_are_refused(kind: str, numbers: list[float], tmp_path: Path) -> None:
    graph = loaded(model_of(f"g ({kind}[N] x) => ({kind}[N] y) {{ y = Identity (x) }}"), tmp_path)
    with pytest.raises(DiagnosticError) as caught:
        run(graph, {"x": np.array(numbers)})
    assert codes(caught.value) == ["AM442"]


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "float16", "double", "bfloat16"])
def test_whole_floats_are_taken_by_every_type(kind: str, tmp_path: Path) -> None:
    graph = loaded(model_of(f"g ({kind}[N] x) => ({kind}[N] y) {{ y = Identity (x) }}"), tmp_path)
    (found,) = run(graph, {"x": np.array([0.0, 1.0])})
    assert found.dtype.name == {"double": "float64"}.get(kind, kind)
    assert found.astype(float).tolist() == [0, 1]


def test_a_scalar_takes_a_batch_of_one_number(tmp_path: Path) -> None:
    graph = loaded(
        model_of("g (float[N, 2] x, int64 n) => (float[N, 2] y) { f = Cast <to = 1> (n) y = Mul (x, f) }"), tmp_path
    )
    for number in (3, [3], [3, 3]):
        assert run(graph, {"x": [[1, 2], [3, 4]], "n": number})[0].tolist() == [[3, 6], [9, 12]]
    with pytest.raises(DiagnosticError) as caught:
        run(graph, {"x": [[1, 2], [3, 4]], "n": [3, 4]})
    assert codes(caught.value) == ["AM402"]


def test_axes_that_are_free_take_any_length_and_none_if_they_are_not_the_batch(tmp_path: Path) -> None:
    text = "g (float[N, 2] new, float[M, 2] past) => (float[K, 2] y) { y = Concat <axis = 0> (past, new) }"
    graph = loaded(model_of(text), tmp_path)
    assert run(graph, {"new": [[1, 2]], "past": np.zeros((0, 2))})[0].tolist() == [[1, 2]]
    assert run(graph, {"new": [[1, 2]], "past": [[5, 6]]})[0].tolist() == [[5, 6], [1, 2]]


def test_shapes_that_only_the_data_say_run_with_every_batch(tmp_path: Path) -> None:
    text = "g (float[N, A, B] x) => (int64[3, K] y, float[N, A, B] z) { y = NonZero (x) z = Relu (x) }"
    graph = loaded(model_of(text), tmp_path)
    assert [value.shape for value in graph.outputs] == [None, None]
    for shape in ((1, 2, 3), (2, 1, 1), (1, 2, 3)):
        assert run(graph, {"x": np.ones(shape)})[0].shape == (3, np.prod(shape))
    found = run_blobs(graph, open_dataset(graph, np.ones((4, 2, 3))), ["z"], 2)
    assert found["z"].shape == (4, 2, 3)


def test_sequences_stay_in_one_session_however_many_nodes_there_are(tmp_path: Path) -> None:
    chain = " ".join(f"v{number + 1} = Relu (v{number})" for number in range(2100))
    text = f"""g (float[4] v0) => (float[4] y) {{ s = SplitToSequence (v0, two) {chain}
      c = ConcatFromSequence <axis = 0> (s) y = Add (c, v2100) }}"""
    graph = loaded(model_of(text, weights={"two": np.array(2)}), tmp_path)
    assert run(graph, {"v0": [1, 2, 3, -4]})[0].tolist() == [2, 4, 6, -4]


def test_values_inside_a_branch_may_have_the_names_of_layers_outside(tmp_path: Path) -> None:
    text = """g (float[2] x, bool c) => (float[2] y) { a = Neg (x)
      y = If (c) <then_branch = t () => (float[2] p) { Neg_0 = Add (a, a) p = Add (Neg_0, a) },
                  else_branch = e () => (float[2] q) { q = Identity (a) }> }"""
    graph = loaded(model_of(text), tmp_path)
    assert run(graph, {"x": [1, 2], "c": True})[0].tolist() == [-3, -6]
    assert run(graph, {"x": [1, 2], "c": False})[0].tolist() == [-1, -2]


def test_weights_of_more_than_two_gibibytes_are_mapped_and_not_read(tmp_path: Path) -> None:
    import resource

    model = model_of(
        "g (float[N, 4] x) => (float[N, 4] y) { r = Gather (w, i) y = Add (x, r) }", weights={"i": np.array(7)}
    )
    rows = 3 << 26  # of 16 bytes
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[rows, 4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(rows * 16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = loaded(model, tmp_path)
    assert next(node for node in graph.nodes if node.type == "Add").inputs
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000  # KiB; the weights are 3 GiB
