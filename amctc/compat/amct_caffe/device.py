"""Where the networks of this program run."""

from __future__ import annotations

from amctc.compat.amct_caffe.errors import told_as_amct
from amctc.compat.amct_caffe.log import log
from amctc.runtime.providers import has_gpu, use_cpu, use_gpu


@told_as_amct
def set_gpu_mode() -> None:
    """Run networks on the GPU, through ONNX Runtime's CUDA provider, from now on.

    Where the installed ONNX Runtime has none, a warning says so and the CPU is used. Weights are
    quantized on the CPU in either mode, which takes seconds. The results of a GPU are those of a CPU but for the last
    bits.
    """
    if use_gpu():
        log.info("set_gpu_mode", "networks run on the GPU (CUDAExecutionProvider)")
        return
    log.warning(
        "set_gpu_mode",
        "the installed ONNX Runtime has no CUDA provider, so the CPU is used; the package `onnxruntime-gpu` in place "
        "of `onnxruntime` brings it",
    )


@told_as_amct
def set_cpu_mode() -> None:
    """Run networks on the CPU from now on, as they do where neither function is called."""
    use_cpu()
    log.debug("set_cpu_mode", "networks run on the CPU" + (", though there is a GPU" if has_gpu() else ""))
