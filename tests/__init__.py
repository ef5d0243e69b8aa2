"""Tests of rased; they mirror its folders."""

from pathlib import Path

EXCERPTS = Path(__file__).parent / "excerpts"
"""noisy/ and target/ of a few mixtures of bundled recordings whose values are written down in tests."""
