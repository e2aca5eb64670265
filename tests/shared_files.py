"""Where the recorded figures and real models lie, beside the checkout; tests that need them skip without."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"
ASSETS = SHARED / "assets"
SEEDS = SHARED / "seeds"

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded figures (../shared/golden) are not here")
needs_seeds = pytest.mark.skipif(not SEEDS.is_dir(), reason="the manuals (../shared/seeds) are not here")
needs_assets = pytest.mark.skipif(not ASSETS.is_dir(), reason="the real models (../shared/assets) are not here")
