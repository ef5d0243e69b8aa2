"""Three ranks under gloo, each a process: validation, batches without a row, the share of bad samples of all."""

import json
from pathlib import Path

import pytest

from tests.data.conftest import corpora  # noqa: F401
from tests.forks import ended, script

CODE = """
import json, sys, time
from pathlib import Path
import pytorch_lightning as pl, torch
from rased.data.mixtures import stages
from rased.data.mixtures.plan import Scene
from rased.data.datamodule import MixtureDataModule
from rased.errors import RasedError
from rased.training.waveform import WaveformEnhancement
from tests.training.synthetic import TinyWaveform

folder, out, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
torch.set_num_threads(1)
speak = stages._speak

def speak_but_on_one_rank(*arguments):
    if torch.distributed.get_rank() == options["bad"]:
        raise RasedError("Sample lost of nowhere")
    speak(*arguments)

stages._speak = speak_but_on_one_rank

class Note(pl.Callback):
    def note(self, trainer, **row):
        with (out / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\\n")
    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        self.note(trainer, valid=batch["index"].tolist())
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.note(trainer, train=batch["index"].tolist())
    def on_train_end(self, trainer, module):
        self.note(trainer, weight=float(sum(p.double().sum() for p in module.enhancer.parameters())))

class Data(MixtureDataModule):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        try:
            return super().on_after_batch_transfer(batch, dataloader_idx)
        except RasedError as error:
            Note().note(self.trainer, error=str(error))
            time.sleep(3)  # the first process that ends with an error has the others killed
            raise

sources = [[folder]] * 3
scene = Scene(segment=0.25)
data = Data(*sources, scene=scene, batch_size=2, samples_per_epoch=110,
            validation_samples=options["valid"], max_bad_share=options["share"])
pl.Trainer(accelerator="cpu", devices=3, strategy="ddp_fork", max_epochs=1, logger=False,
           enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
           num_sanity_val_steps=0, use_distributed_sampler=False, callbacks=[Note()],
           ).fit(WaveformEnhancement(TinyWaveform(), warmup_steps=0), datamodule=data)
"""


def fit(corpora: Path, out: Path, **options: float) -> tuple[int, list[list[dict]]]:  # noqa: F811
    """Exit status, and what each rank noted."""
    out.mkdir()
    said = out / "said.txt"
    status = ended(script(CODE, [str(corpora), str(out), json.dumps(options)], said), 300)
    ranks = [(out / f"{rank}.jsonl") for rank in range(3)]
    assert all(file.is_file() for file in ranks), said.read_text()
    return status, [[json.loads(row) for row in file.read_text().splitlines()] for file in ranks]


def every(ranks: list[list[dict]], name: str) -> list[int]:
    return sorted(index for rows in ranks for row in rows for index in row.get(name, []))


@pytest.mark.parametrize(
    "count", [10, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 13))]
)
def test_validation_sees_each_item_once(corpora: Path, tmp_path: Path, count: int) -> None:  # noqa: F811
    status, ranks = fit(corpora, tmp_path / "out", bad=-1, share=0.01, valid=count)
    assert status == 0
    assert every(ranks, "valid") == list(range(count))
    assert every(ranks, "train") == list(range(110))


@pytest.mark.slow
def test_a_rank_without_a_good_sample_takes_part(corpora: Path, tmp_path: Path) -> None:  # noqa: F811
    status, ranks = fit(corpora, tmp_path / "out", bad=1, share=0.5, valid=6)
    assert status == 0
    assert not every(ranks[1:2], "train")
    assert len(every(ranks, "train")) > 60
    weights = {row["weight"] for rows in ranks for row in rows if "weight" in row}
    assert len(weights) == 1


@pytest.mark.slow
def test_all_ranks_stop_where_one_has_too_many_bad_samples(
    corpora: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    status, ranks = fit(corpora, tmp_path / "out", bad=1, share=0.2, valid=6)
    assert status != 0
    told = [rows[-1]["error"] for rows in ranks]
    assert all("32 of 96 samples (33.3 %) could not be read" in error for error in told)
    assert "Sample lost of nowhere" in told[1]
