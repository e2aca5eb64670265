"""What a pass costs for each node, on chains, ladders and stars of 1,000, 10,000 and 100,000 nodes.

The units of the graphs keep the pass busy (`tests/passes/pass_graphs.py`). The ratio is that of the largest size to
the smallest, measured in turns: the median of up to three rounds, which must stay within 1.5. Passes that run the data
see up to 10,000 nodes: what they cost is the runtime, which computes the graph. Then the whole float pipeline on 10,000
nodes of everything that it cleans up, with the verification after each pass; it must take less than 5 s. `--quick`
leaves the largest size out; `--only PASS` and `--shape SHAPE` choose.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from amctc.pipeline.pipeline_text import parse_pipeline
from amctc.registry import builtin_registry
from amctc.source import SourceFile
from tests.passes.pass_graphs import CASES, SHAPES, Case, everything, prepared, run

SIZES = {1_000: 20, 10_000: 4, 100_000: 1}
"""Nodes, and how often each is measured in a round: half of them before the largest, half after it."""
ROUNDS, SECONDS = 3, 40
"""So many rounds, or fewer where they take longer than this."""
MOST_CALIBRATED = 10_000
ALLOWED = 1.5
PIPELINE_NODES, PIPELINE_SECONDS = 10_000, 5.0


def one_round(name: str, shape: str, sizes: list[int]) -> dict[int, float]:
    """Microseconds of the processor a node that a pass takes, by size; each run has a graph of its own.

    The smaller sizes are run on both sides of the largest, so that a clock that rises or falls meanwhile changes them
    all alike. All graphs are built before the first run, so that a small one is as little in the caches as a large one.
    """
    (step,) = parse_pipeline(SourceFile("pipeline", name), builtin_registry()).passes
    halves = [size for size in sizes[:-1] for _ in range(SIZES[size] // 2)]
    order = [*halves, sizes[-1], *reversed(halves)]
    graphs = [(size, prepared(CASES[name], shape, size)) for size in order]
    found: dict[int, list[float]] = {size: [] for size in sizes}
    while graphs:
        size, (graph, context) = graphs.pop(0)
        nodes = len(graph.nodes)  # in their order, which the verification before a pass has looked for
        begin = time.process_time()
        step.run(graph, context)
        found[size].append((time.process_time() - begin) / nodes * 1e6)
    gc.collect()
    return {size: statistics.fmean(times) for size, times in found.items()}


def bench_pass(name: str, shape: str, sizes: list[int]) -> bool:
    """Print the medians of some rounds, and say whether the median of their ratios is small enough."""
    runs_data = builtin_registry().passes[name].load().needs_calibration
    sizes = [size for size in sizes if not runs_data or size <= MOST_CALIBRATED]
    begin = time.perf_counter()
    rounds = [one_round(name, shape, sizes)]
    while len(rounds) < ROUNDS and time.perf_counter() - begin < SECONDS:
        rounds.append(one_round(name, shape, sizes))
    ratios = sorted(each[sizes[-1]] / each[sizes[0]] for each in rounds)
    ratio = statistics.median(ratios)
    cells = "  ".join(f"{statistics.median(each[size] for each in rounds):9.2f}" for size in sizes)
    late = "" if ratio <= ALLOWED else f"  more than {ALLOWED}"
    spread = f"ratio {ratio:5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"{name:18}{shape:8}{cells}  {' ' * 11 * (3 - len(sizes))}{spread}{late}", flush=True)
    return ratio <= ALLOWED


def bench_pipeline(shape: str) -> bool:
    gc.enable()  # here the whole time counts
    graph, context = prepared(Case(everything), shape, PIPELINE_NODES)
    nodes = len(graph)
    begin = time.perf_counter()
    run("float", graph, context)
    seconds = time.perf_counter() - begin
    late = "" if seconds < PIPELINE_SECONDS else f"  more than {PIPELINE_SECONDS:g} s"
    print(f"float pipeline    {shape:8}{nodes} nodes, {len(graph)} afterwards: {seconds:.2f} s{late}", flush=True)
    return seconds < PIPELINE_SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=list(CASES), nargs="*")
    parser.add_argument("--shape", choices=list(SHAPES), nargs="*")
    given = parser.parse_args()
    # The collector walks whatever there is, at moments of its own: it would be timed at random.
    gc.disable()
    sizes = list(SIZES)[: 2 if given.quick else 3]
    print(f"microseconds a node, of {', '.join(f'{size:,}' for size in sizes)} nodes")
    passes, shapes = given.only or list(CASES), given.shape or list(SHAPES)
    good = [bench_pass(name, shape, sizes) for name in passes for shape in shapes]
    if not given.only:
        good += [bench_pipeline(shape) for shape in shapes]
    if not all(good):
        sys.exit("not linear, or too slow")


if __name__ == "__main__":
    main()
