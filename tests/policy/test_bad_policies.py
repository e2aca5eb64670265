"""A table of bad policies: each is told the code, the line and the column, in words that help."""

from __future__ import annotations

import pytest

from amctc.diagnostics import Diagnostic, Level, render
from amctc.policy.check import check_text
from amctc.source import SourceFile
from tests.policy.bad_flavours import BAD_FLAVOURS
from tests.policy.bad_layer_configs import BAD_LAYER_CONFIGS
from tests.policy.bad_policies import BAD_CFGS, MARK, Bad
from tests.policy.texts import places, small_graph

TABLE = (*BAD_CFGS, *BAD_LAYER_CONFIGS, *BAD_FLAVOURS)
WARNINGS = {"AM205", "AM225", "AM230", "AM232", "AM235", "AM270", "AM271", "AM272", "AM274", "AM275", "AM277"}


def told(row: Bad) -> tuple[Diagnostic, ...]:
    source = SourceFile("layers.json" if row.json else "quant.cfg", row.text)
    return check_text(source, small_graph() if row.model else None, row.flavour)


@pytest.mark.parametrize("row", TABLE, ids=[f"{i:03}-{row.codes[0]}" for i, row in enumerate(TABLE)])
def test_a_bad_policy_is_told_its_mistakes_at_their_places(row: Bad) -> None:
    found = told(row)
    assert places(found) == row.expected
    first = found[0]
    words = "\n".join((first.message, *first.notes, first.help or ""))
    assert row.says in words, words
    assert [d.level is Level.WARNING for d in found] == [d.code in WARNINGS for d in found]


@pytest.mark.parametrize("row", TABLE, ids=[f"{i:03}-{row.codes[0]}" for i, row in enumerate(TABLE)])
def test_a_message_is_a_sentence_that_can_be_shown(row: Bad) -> None:
    for found in told(row):
        assert found.message == found.message.strip()
        assert not found.message.endswith(".")
        assert not found.message[0].isupper() or found.message.startswith("JSON")
        assert len(found.message) < 300
        assert render(found)


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(TABLE) >= 120
    assert len({row.marked for row in TABLE}) == len(TABLE)
    assert all(row.marked.count(MARK) == len(row.codes) for row in TABLE)
