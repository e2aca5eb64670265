"""A process in which plug-ins are loaded and taken back again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from amctc import plugins
from amctc.registered import Owner, all_or_nothing
from tests.plugin_texts import nothing_is_registered


class _Over(Exception):
    pass


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No installed plug-in counts as loaded, and whatever the test registers is taken back."""
    monkeypatch.setattr(plugins, "_LOADED", set[str]())
    with pytest.raises(_Over), all_or_nothing(Owner("the test", "the test")):
        yield
        raise _Over
    assert nothing_is_registered()
