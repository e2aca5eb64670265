"""What a policy of 10,000 override entries costs on a model of 10,000 layers: reading, resolving, explaining, writing.

Every figure is the fastest of several runs, in seconds of processor time; half the size shows whether the
time grows faster than the policy.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from amctc.ir import Graph
from amctc.policy import Policy, explanation, resolve, to_json
from amctc.source import SourceFile
from amctc.text.prototext import parse_prototext

SIZES = (5000, 10_000)
REPEATS = 3

T = TypeVar("T")


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Seconds of the fastest of several runs, and the last result."""
    times: list[float] = []
    for _ in range(REPEATS - 1):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    start = time.process_time()
    result = run()
    return min(*times, time.process_time() - start), result


def chain(count: int) -> Graph:
    """Convolutions one after the other."""
    graph = Graph("chain")
    value = graph.add("data", "caffe.Input").output
    for number in range(count):
        value = graph.add(f"conv{number}", "caffe.Convolution", [value]).output
    graph.outputs = [value]
    return graph


def overrides(count: int) -> str:
    """A .cfg with an override for every layer of the chain."""
    return "".join(
        f"override_layer_configs {{\n"
        f'  layer_name: "conv{number}"\n'
        f"  calibration_config {{\n"
        f"    ifmr_quantize {{ num_bits: {8 + number % 5} search_range_start: 0.8 search_range_end: 1.2 }}\n"
        f"    arq_quantize {{ channel_wise: {'true' if number % 2 else 'false'} }}\n"
        f"  }}\n"
        f"}}\n"
        for number in range(count)
    )


def patterns(count: int) -> str:
    """A .cfg of a hundred patterns, each for a hundredth of the layers of the chain."""
    step = count // 100
    return "".join(
        f'override_layer_configs {{ layer_name: "regex:conv{number}[0-9]{{{len(str(step)) - 1}}}" '
        f"calibration_config {{ ifmr_quantize {{ num_bits: {8 + number % 5} }} }} }}\n"
        for number in range(10, 100)
    )


def measure(what: str, text: str, graph: Graph) -> None:
    source = SourceFile("large.cfg", text)
    parse, _ = timed(lambda: parse_prototext(source))
    read, policy = timed(lambda: Policy.from_text(source))
    resolving, resolved = timed(lambda: resolve(policy, graph))
    explaining, found = timed(lambda: explanation(resolved))
    writing, written = timed(lambda: to_json(resolved))
    print(
        f"{what}: text {parse:.2f} s, policy with its text {read:.2f} s, resolve {resolving:.2f} s, "
        f"together {read + resolving:.2f} s; explain {explaining:.2f} s ({len(found.rows)} values), "
        f"write JSON {writing:.2f} s ({len(written) / 1e6:.1f} MB)"
    )


def main() -> None:
    for count in SIZES:
        graph = chain(count)
        measure(f"{count:6} overrides on {count:6} layers", overrides(count), graph)
        measure(f"    90 patterns  on {count:6} layers", patterns(count), graph)


if __name__ == "__main__":
    main()
