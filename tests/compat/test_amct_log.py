"""What `amct_caffe` logs: its steps, mistakes, and the device that networks run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from amctc.compat import amct_caffe as amct
from amctc.driver import compile
from tests.compat.amct_steps import CONFIG, MODEL, MODIFIED, WEIGHTS, any_value, at_desk, logged, started


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the embedded example in it, as the current one, and a log of its own."""
    with at_desk(tmp_path, monkeypatch):
        yield tmp_path


class TestDevice:
    def test_the_gpu_is_used_where_there_is_one(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import onnxruntime

        from amctc.runtime import providers

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [providers.CUDA, providers.CPU])
        amct.set_gpu_mode()
        first, *others = providers.providers()
        assert isinstance(first, tuple) and others == [providers.CPU]
        assert first[0] == providers.CUDA and first[1]["use_tf32"] == "0"
        assert "networks run on the GPU" in logged(desk)
        amct.set_cpu_mode()
        assert providers.providers() == [providers.CPU]

    def test_no_gpu_is_a_warning(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import onnxruntime

        from amctc.runtime import providers

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [providers.CPU])
        amct.set_gpu_mode()
        assert providers.providers() == [providers.CPU]
        assert " - WARNING - [AMCT]:[set_gpu_mode]: the installed ONNX Runtime has no CUDA provider" in logged(desk)


class TestLog:
    def test_a_wrong_level_is_told_and_the_usual_one_taken(
        self, desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("AMCT_LOG_LEVEL", "LOUD")
        monkeypatch.setenv("AMCT_LOG_FILE_LEVEL", " debug ")
        amct.create_quant_config(CONFIG, MODEL, WEIGHTS)
        shown = capsys.readouterr().err
        assert "WARNING - [AMCT]:[AMCT]: AMCT_LOG_LEVEL is `LOUD`, which is none of DEBUG, INFO" in shown
        assert "INFO - [AMCT]:[create_quant_config]" in shown
        started()
        assert "DEBUG - [AMCT]:[Utils]: tmp/config.json was there already" in logged(desk)

    def test_a_layer_s_story_is_told_to_who_debugs(self, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AMCT_LOG_FILE_LEVEL", "DEBUG")
        amct.weights_quantize_model(started(), *MODIFIED)
        assert 'DEBUG - [AMCT]:[quantize-weights]: layer:"conv1" 8 bits, one scale for each output channel' in logged(
            desk
        )

    def test_mistakes_are_logged(self, desk: Path) -> None:
        with pytest.raises(TypeError):
            amct.uninplace_model(any_value(3), "x")
        assert "ERROR - [AMCT]:[uninplace_model]: error[AM630]: `model_file` is of type `int`" in logged(desk)

    def test_a_program_begins_its_log_anew(self, desk: Path) -> None:
        (desk / "amct_log").mkdir()
        (desk / "amct_log/amct_caffe.log").write_text("of an earlier run\n", encoding="utf-8")
        amct.set_cpu_mode()
        started()
        text = logged(desk)
        assert "earlier" not in text and text.count("[create_quant_config]") == 1

    def test_the_library_alone_writes_no_log(self, desk: Path) -> None:
        compile(MODEL, WEIGHTS, policy="policy.cfg", data="calibration.npz", output=desk / "out/model")
        assert not (desk / "amct_log").exists()

    def test_a_log_that_cannot_be_written_stops_nothing(self, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (desk / "amct_log").write_text("a file", encoding="utf-8")
        started()
        assert "amct_caffe.log` cannot be written: " in capsys.readouterr().err
