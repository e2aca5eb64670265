"""The node tests of the `onnx` package give the recorded outputs, but for those listed with their reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from onnx.reference.ops.op_pool_common import pool as reference_pool

from amctc.ir.parser import parse_graph
from amctc.ir.printer import print_graph
from amctc.source import SourceFile
from amctc.targets.onnx.model import float_model
from tests.frontends.onnx.models import loaded
from tests.frontends.onnx.node_cases import (
    OTHER_NUMBERS,
    NodeCase,
    Result,
    agree,
    by_onnx_runtime,
    expected_outcomes,
    graph_of,
    listed,
    node_cases,
    outcome,
    pool,
    run,
)

PARTS = 16


@pytest.mark.parametrize("part", range(PARTS))
def test_node_models_give_their_outputs_or_are_listed(part: int, tmp_path: Path) -> None:
    cases = node_cases()[part::PARTS]
    expected = expected_outcomes()
    found = {case.name: outcome(case, tmp_path) for case in cases}
    assert found == {case.name: expected.get(case.name, "") for case in cases}


@pytest.mark.parametrize("part", range(PARTS // 4))
def test_node_models_give_the_same_when_they_are_written_and_read_again(part: int, tmp_path: Path) -> None:
    run_at_all = [case for case in node_cases() if case.name not in expected_outcomes()]
    for case in run_at_all[part::PARTS]:
        graph = graph_of(case, tmp_path)
        assert parse_graph(SourceFile("graph", print_graph(graph))) == graph, case.name
        again = loaded(float_model(graph), tmp_path)
        for given, wanted in case.batches:
            assert agree(run(again, case, given), wanted, case.rtol, case.atol), case.name


@pytest.mark.parametrize("kind", ["AVG", "MAX", "LPPOOL"])
def test_pools_are_those_of_the_reference(kind: str) -> None:
    given = np.random.default_rng(0).normal(size=(2, 3, 7, 8, 6)).astype(np.float32)
    arguments = given, given.shape, [2, 3, 1], [2, 1, 3], [3, 6, 2], kind
    found, wanted = pool(*arguments, p=3), reference_pool(*arguments, p=3)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_list_names_models_that_exist_once_each() -> None:
    names = [name for group in listed() for name in group.models]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) <= {case.name for case in node_cases()}


def test_most_node_models_run(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{len(node_cases())} node models; not run:")
        for group in listed():
            print(f"{len(group.models):6} {group.outcome:8} {group.reason}")
    assert len(expected_outcomes()) < len(node_cases()) / 8


def test_onnx_runtime_itself_refuses_what_is_said_to_be_its_doing(tmp_path: Path) -> None:
    blamed = {name for group in listed() if "ONNX Runtime" in group.reason for name in group.models}
    cases = [case for case in node_cases() if case.name in blamed]
    ran = {case.name for case in cases if (found := by_onnx_runtime(case)) and _agrees(case, found)}
    assert ran == set()
    assert len(cases) > 60


def test_numbers_that_differ_from_the_recorded_ones_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    random = {name for group in listed() if "random" in group.reason for name in group.models}
    for case in node_cases():
        if expected_outcomes().get(case.name) != OTHER_NUMBERS or case.name in random:
            continue
        found = by_onnx_runtime(case)
        ours = [run(graph_of(case, tmp_path), case, given) for given, _ in case.batches]
        assert found is not None
        assert all(agree(a, b, 1e-5, 1e-4) for a, b in zip(ours, found, strict=True)), case.name


def _agrees(case: NodeCase, found: Sequence[Sequence[Result]]) -> bool:
    batches = zip(found, case.batches, strict=True)
    return all(agree(results, wanted, case.rtol, case.atol) for results, (_, wanted) in batches)
