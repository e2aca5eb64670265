"""What the functions return: `graphStatus` of GE."""

from __future__ import annotations

from typing import Final

GRAPH_SUCCESS: Final = 0
GRAPH_FAILED: Final = 0xFFFFFFFF
GRAPH_NOT_CHANGED: Final = 1343242304
"""There was nothing to do; ATC takes it for a success."""
