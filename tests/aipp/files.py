"""Short AIPP files, what they say, and what is told of them."""

from __future__ import annotations

import pytest

from amctc.aipp.config import AippConfig
from amctc.aipp.read import parse_aipp
from amctc.diagnostics import Collector, Diagnostic, DiagnosticError, Level
from amctc.source import SourceFile

RGB = "aipp_mode: static input_format: RGB888_U8"
YUV = "aipp_mode: static input_format: YUV420SP_U8"


def config_of(body: str, collector: Collector | None = None) -> AippConfig:
    (config,) = parse_aipp(SourceFile("aipp.cfg", f"aipp_op {{ {body} }}"), collector)
    return config


def mistakes_of(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(DiagnosticError) as refusal:
        parse_aipp(SourceFile("aipp.cfg", text))
    return refusal.value.diagnostics


def only_mistake(body: str, code: str, at: str) -> str:
    """The message of the one mistake, which must have the code and point at the text."""
    (found,) = mistakes_of(f"aipp_op {{ {body} }}")
    assert found.code == code, found
    assert found.span is not None and found.span.text == at
    return found.message


def warnings_of(body: str) -> list[str]:
    collector = Collector()
    config_of(body, collector)
    assert all(found.level is Level.WARNING and found.code == "AM399" for found in collector.diagnostics)
    return [found.message for found in collector.diagnostics]
