"""Where networks run: on the CPU, or through ONNX Runtime's CUDA provider once a program asks for that."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"

Provider: TypeAlias = str | tuple[str, dict[str, Any]]


class _Choice:
    """What the program has asked for last; sessions that exist already stay where they are."""

    gpu = False
    device: int | None = None


def has_gpu() -> bool:
    """Whether the installed ONNX Runtime can run on a GPU (the package `onnxruntime-gpu` can)."""
    import onnxruntime as ort

    return CUDA in ort.get_available_providers()


def use_gpu() -> bool:
    """Run new sessions on the GPU; False, and nothing changes, where ONNX Runtime has no CUDA provider."""
    if not has_gpu():
        return False
    _Choice.gpu = True
    return True


def use_cpu() -> None:
    """Run new sessions on the CPU."""
    _Choice.gpu = False


def use_device(device: int) -> None:
    """Which GPU to use: its number among those that CUDA sees."""
    _Choice.device = device


def providers() -> list[Provider]:
    """What a new session may use, the best first."""
    if not _Choice.gpu:
        return [CPU]
    # TF32 keeps 10 bits of each factor: far too few to stay near what a CPU computes.
    options: dict[str, Any] = {"use_tf32": "0"}
    if _Choice.device is not None:
        options["device_id"] = _Choice.device
    return [(CUDA, options), CPU]
