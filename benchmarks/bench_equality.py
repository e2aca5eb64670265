"""How far our blobs are from those of the real Caffe, over every recorded case that the op table covers."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amctc.frontends.caffe import load_caffe
from amctc.runtime.executor import Executor, blob_values
from tests.runtime.caffe_cases import CaffeCase, forward_cases


def worst_of(case: CaffeCase) -> float:
    """The largest difference of any blob, over the blob's largest magnitude, in the first recorded pass."""
    graph = load_caffe(case.prototxt, case.caffemodel)
    recorded = case.recorded(0)
    feeds = {name[3:]: array for name, array in recorded.items() if name.startswith("in/")}
    values = blob_values(graph)
    found = Executor(graph, fetch=list(values.values())).run(feeds)
    worst = 0.0
    for name, value in values.items():
        if f"blob/{name}" not in recorded:
            continue
        expected = recorded[f"blob/{name}"].astype(np.float64)
        usable = np.isfinite(expected)
        largest = np.abs(expected[usable]).max(initial=0.0)
        apart = np.abs(found[value].astype(np.float64)[usable] - expected[usable]).max(initial=0.0)
        worst = max(worst, float(apart / largest) if largest else float(apart))
    return worst


def main() -> None:
    by_type: dict[str, list[float]] = defaultdict(list)
    for case in forward_cases():
        by_type[re.split("__", case.name)[0]].append(worst_of(case))
    for kind, found in sorted(by_type.items()):
        print(f"{kind:16} {len(found):4} cases, worst {max(found):.1e} of the blob's largest magnitude")
    every = [error for found in by_type.values() for error in found]
    print(f"{'all':16} {len(every):4} cases, worst {max(every):.1e}")


if __name__ == "__main__":
    main()
