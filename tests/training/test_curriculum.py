"""A training with a curriculum continues where it stopped, and replays the mixtures of its steps."""

from pathlib import Path
from typing import Any

import pytest

from tests.training.stories import assert_continues, assert_continues_and_replays

NAME, ARGUMENTS = "waveform.WaveformEnhancement", {"warmup_steps": 0}
CURRICULUM: dict[str, Any] = {"epochs": 1.5, "snr_db": [20, 30], "t60": [0.1, 0.2]}
DATA: dict[str, Any] = {
    "curriculum": CURRICULUM,
    "scene": {"segment": 0.3, "reverb_probability": 1.0, "t60": [0.5, 1.0]},
}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.isinstance.treespec")
def test_a_stopped_training_continues(tmp_path: Path) -> None:
    assert_continues(NAME, ARGUMENTS, tmp_path, **DATA)


@pytest.mark.slow
def test_a_run_continues_and_replays(tmp_path: Path) -> None:
    assert_continues_and_replays(NAME, ARGUMENTS, tmp_path, **DATA)
