"""Do a part of `three_processes` for every line `PART SECONDS` of the input, in a process that is killed after them.

These processes are forks of one that has imported everything: their whole time goes into the part itself. An answer is
the time that was taken; with SECONDS 0 the part may end.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time

import three_processes  # type: ignore[import-not-found]


def main(model: str, weights: str, data: str) -> None:
    """Answer every line."""
    for name in ("caffe", "onnxruntime"):  # what the parts import when they need it
        importlib.import_module(name)
    for line in sys.stdin:
        part, seconds = line.split()
        begin = time.monotonic()
        child = os.fork()
        if not child:
            three_processes.main(part, model, weights, data)
            os._exit(0)
        if float(seconds):
            time.sleep(float(seconds))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert float(seconds) or status == 0
        print(time.monotonic() - begin, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
