"""How far our blobs are from those of the real Caffe and of its fork, over every recorded forward pass."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.runtime.caffe_cases import FORK, CaffeCase, fork_cases, forward_cases
from tests.runtime.caffe_passes import load_case, run_passes, write_fork_proto

ALLOWED = 2e-6
"""Of the blob's largest magnitude."""
FOLDERS = {"legacy": "old files", "nets": "whole nets"}


@dataclass(frozen=True)
class Difference:
    """The difference of one recorded array, and what it belongs to."""

    group: str
    case: str
    type: str
    array: str
    value: float


def group_of(case: CaffeCase) -> str:
    """What a case is a case of, for the totals."""
    if FORK in case.base.parents:
        return "the fork"
    return FOLDERS.get(case.base.parent.name, f"layers, {case.phase}")


def differences(case: CaffeCase, fork: Path) -> Iterator[Difference]:
    """Of every array of a case, in every recorded pass."""
    group = group_of(case)
    graph = load_case(case, fork if group == "the fork" else None)
    for compared in run_passes(graph, case):
        for each in compared:
            yield Difference(group, case.name, each.type, each.name, each.difference)


def report(title: str, found: list[Difference]) -> None:
    """One line: how many arrays of how many cases, and the worst of them."""
    worst = max(found, key=lambda each: each.value)
    cases = len({(each.group, each.case) for each in found})
    where = f"  ({worst.case}, {worst.array})" if worst.value else ""
    print(f"{title:25} {cases:4} cases {len(found):5} arrays, worst {worst.value:.1e}{where}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        fork = write_fork_proto(Path(folder))
        found = [each for case in [*forward_cases(), *fork_cases()] for each in differences(case, fork)]
    print("the largest difference, relative to the largest magnitude of the recorded array")
    for kind in sorted({each.type for each in found}):
        report(kind, [each for each in found if each.type == kind])
    print()
    for group in Counter(each.group for each in found):
        report(group, [each for each in found if each.group == group])
    report("all", found)
    worse = [each for each in found if not each.value <= ALLOWED]
    print(f"\n{len(worse)} arrays are worse than {ALLOWED:.0e}")
    for each in worse:
        print(f"  {each.case}, {each.array}: {each.value:.1e}")


if __name__ == "__main__":
    main()
