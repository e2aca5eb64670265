"""Quantize one ONNX model, and say in JSON what that took: `calibrate_once.py METHOD FLOAT.onnx SAMPLES RESULT.onnx`.

SAMPLES stands for two files of the same samples, SAMPLES.npz with the input's name, and SAMPLES.npy. A program of its
own, so that each call starts in a fresh process, in the environment of the tool that it calls (see `onnx_peers.py`).
`seconds` and `processor` are the clock's and the processor's for the whole call, from the files to the files, with all
that is imported for it; `again` and `again_processor` for the same call made once more. `forward` and
`forward_processor` are those for running the float model on the same samples in onnxruntime, with the threads that it
takes by itself: the mean of a run before the calls and one after them. With `--memory` no forward is run, and `peak` is
the most memory that the process held, in MiB. The methods `inference` and `amctc-inference` are the
forward alone.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx_peers import METHODS, NOT_INSTALLED

OBSERVERS = ("ifmr", "hfmg", "minmax", "percentile", "entropy", "mse")


def amctc_method(observer: str) -> Callable[[Path, Path, Path], None]:
    def quantize(model: Path, samples: Path, result: Path) -> None:
        from amctc import driver
        from amctc.passes import PIPELINES

        array = samples.with_suffix(".npy")
        count = len(np.load(array, mmap_mode="r"))
        common = "common_config { hfmg_quantize { } }\n" if observer == "hfmg" else ""
        policy = result.with_suffix(".cfg")
        policy.write_text(f"batch_num: {count}\n{common}", encoding="utf-8")
        chosen = "" if observer in ("ifmr", "hfmg") else f"{{observer={observer}}}"
        pipeline = PIPELINES["ptq"].replace(",observe,", f",observe{chosen},")
        driver.compile(
            model,
            policy=policy,
            data=array,
            batch_size=1,
            pipeline=pipeline,
            target="onnx",
            output=result.with_suffix(""),
        )

    return quantize


def session_of(model: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def infer(session: Any, samples: Path) -> None:
    name = session.get_inputs()[0].name
    for sample in np.load(samples.with_suffix(".npy"), mmap_mode="r"):
        session.run(None, {name: np.array(sample[np.newaxis])})


def inference(model: Path, samples: Path, _: Path) -> None:
    infer(session_of(model), samples)


def our_inference(model: Path, samples: Path, _: Path) -> None:
    """The forward alone in our runtime, with all that quantizing imports."""
    from amctc.frontends import load_model
    from amctc.runtime.executor import Executor, read_inputs

    importlib.import_module("amctc.driver.quantize")
    executor = Executor(load_model(model))
    name = next(iter(read_inputs(executor.graph)))
    for sample in np.load(samples.with_suffix(".npy"), mmap_mode="r"):
        executor.run({name: np.array(sample[np.newaxis])})


def timed(work: Callable[[], None]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def peak() -> float:
    # Not ru_maxrss: that also counts what the parent process held when it started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def peer(method: str) -> Callable[[Path, Path, Path], None]:
    return lambda model, samples, result: METHODS[method](model, samples.with_suffix(".npz"), result)


ALL = {
    **{method: peer(method) for method in METHODS},
    **{f"amctc-{observer}": amctc_method(observer) for observer in OBSERVERS},
    "inference": inference,
    "amctc-inference": our_inference,
}


def main() -> None:
    method, model, samples, result = sys.argv[1:5]
    files = Path(model), Path(samples), Path(result)
    try:
        if "--memory" in sys.argv:
            ALL[method](*files)
            print(json.dumps({"peak": peak()}))
            return
        session = session_of(files[0])
        infer(session, files[1])
        before = timed(lambda: infer(session, files[1]))
        call = timed(lambda: ALL[method](*files))
        again = timed(lambda: ALL[method](*files))
        after = timed(lambda: infer(session, files[1]))
    except ModuleNotFoundError as missing:
        print(f"{missing.name} is not installed", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    forward = [(one + other) / 2 for one, other in zip(before, after, strict=True)]
    names = ("seconds", "processor", "again", "again_processor", "forward", "forward_processor")
    print(json.dumps(dict(zip(names, (*call, *again, *forward), strict=True))))


if __name__ == "__main__":
    main()
