"""A small variant of each story, trained for minutes on the bundled corpus, beats its noisy input."""

import csv
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORIES = (
    "lstm-psm-small",
    "dnn-mapping-small",
    "gcrn-small",
    "conv-tasnet-causal-small",
    "conv-tasnet-small",
)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", STORIES)
def test_story_beats_the_noisy_input_within_ten_cpu_minutes(name: str, tmp_path: Path) -> None:
    """SI-SDR over all validation mixtures (noise at 0 to 10 dB), one thread, by the average weights."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(sys.executable, "-m", "rased", "train", "--runs", str(tmp_path), "--name", name),
            *("-c", f"model/{name}", "-c", "data/bundle-noise", "-c", "trainer/cpu"),
            *("--trainer.max_epochs", "-1", "--trainer.max_steps", "300"),
            *("--data.batch_size", "8", "--data.samples_per_epoch", "800"),
            *("--data.num_workers", "0", "--run.examples", "0", "--run.evaluate", "[]"),
        ],
        cwd=ROOT,
        env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (tmp_path / name / "metrics.csv").open() as file:
        valid = [row for row in csv.DictReader(file) if row["valid/loss"]]
    improvement = float(valid[-1]["valid/si_sdr_improvement"])
    print(f"{name}: {improvement:+.2f} dB, {after.ru_utime - before.ru_utime:.0f} CPU s")
    assert improvement > 1.0
    assert after.ru_utime - before.ru_utime < 600
