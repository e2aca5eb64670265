"""Writes the tables of our grammars: `python -m amctc.text.compile_grammars FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from amctc.text.parser_tables import print_tables
from amctc.text.parsers import STARTS, grammar_text, table_options


def compiled_grammars() -> Mapping[str, str]:
    """What every file of tables should hold, by its name."""
    return {f"{name}.json": print_tables(grammar_text(name), table_options(name)) for name in STARTS}


if __name__ == "__main__":
    for name, content in compiled_grammars().items():
        (Path(sys.argv[1]) / name).write_text(content, encoding="utf-8")
