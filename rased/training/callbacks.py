"""Callbacks that report progress: progress bar or plain lines, throughput, cache sizes, audio examples."""

import contextlib
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import soundfile
import torch
from jaxtyping import Float
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from rased.data.datamodule import MixtureDataModule
from rased.data.mixtures.sample import Mixture, reference
from rased.signal.stft import STFT
from rased.training.base import Enhancement
from rased.training.divided import united


class LoaderClock(Profiler):
    """A profiler that measures one thing: how long the trainer waited for the training loader."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = self._begun = 0.0

    def start(self, action_name: str) -> None:
        """Start the clock; `stop` counts it only if the action is fetching a training batch."""
        self._begun = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Stop the clock."""
        # Lightning calls it "[_TrainingEpochLoop].train_dataloader_next".
        if action_name.endswith("train_dataloader_next"):
            self.waited += time.perf_counter() - self._begun


class Throughput(Callback):
    """Logs seconds of audio trained on per second, and the share of time spent waiting for data.

    Both are means over the time since they were last logged, without validation.
    """

    def __init__(self) -> None:
        self._begun = self._audio = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._begin(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock, so that validation does not count."""
        self._begin(trainer)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
    ) -> None:
        """Count the audio; log when the trainer logs."""
        self._audio += cast(Enhancement, pl_module).seconds(batch) * trainer.world_size
        if trainer.global_step % cast(Any, trainer).log_every_n_steps == 0:
            # The floor avoids a division by zero on a coarse clock.
            elapsed = max(time.perf_counter() - self._begun, 1e-9)
            pl_module.log("speed/audio_seconds_per_second", self._audio / elapsed)
            clock = cast(Any, trainer).profiler
            if isinstance(clock, LoaderClock):
                pl_module.log("speed/waiting_share", clock.waited / elapsed)
            self._begin(trainer)

    def _begin(self, trainer: pl.Trainer) -> None:
        self._begun, self._audio = time.perf_counter(), 0.0
        clock = cast(Any, trainer).profiler
        if isinstance(clock, LoaderClock):
            clock.waited = 0.0


class Caches(Callback):
    """Logs the size of the data caches in megabytes, summed over all ranks, as data/NAME_mb."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
    ) -> None:
        """Log when the trainer logs."""
        data = cast(Any, trainer).datamodule
        due = trainer.global_step % cast(Any, trainer).log_every_n_steps == 0
        if due and isinstance(data, MixtureDataModule):
            # Every rank has its own caches, and all of them must take part in the reduction.
            for name, size in data.kept_bytes().items():
                pl_module.log(f"data/{name}_mb", size / 1e6, sync_dist=True, reduce_fx="sum")


class BadSamples(Callback):
    """Counts samples that could not be read (data/skipped), and names them in skipped.txt and on stderr.

    Rank N writes skipped-N.txt: on file servers, what two nodes append to one file may be lost.

    Validation samples are included. Each sample is named once per launch, by the rank that read it. The count
    starts with the launch.

    Args:
        folder: folder of the run.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / "skipped.txt"
        self._named = 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
    ) -> None:
        """Name new bad samples; log the count when the trainer logs."""
        data = cast(Any, trainer).datamodule
        if not isinstance(data, MixtureDataModule):
            return
        self._name(data, trainer)
        if trainer.global_step % cast(Any, trainer).log_every_n_steps == 0:
            count = float(data.skipped.total())
            pl_module.log("data/skipped", count, sync_dist=True, reduce_fx="sum")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Name new bad samples."""
        data = cast(Any, trainer).datamodule
        if isinstance(data, MixtureDataModule):
            self._name(data, trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Name the sample that stopped the run."""
        data = cast(Any, trainer).datamodule
        if isinstance(data, MixtureDataModule):
            # If the disk is full, report the original error instead.
            with contextlib.suppress(OSError):
                self._name(data, trainer)

    def _name(self, data: MixtureDataModule, trainer: pl.Trainer) -> None:
        if len(data.skipped) == self._named:
            return
        new = list(data.skipped)[self._named :]
        self._named = len(data.skipped)
        for sentence in new:
            print(f"skipped: {sentence}", file=sys.stderr)
        rank = trainer.global_rank
        path = self.path.with_stem(f"{self.path.stem}-{rank}") if rank else self.path
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{sentence}\n" for sentence in new))


class Examples(Callback):
    """Writes audio and spectrograms of the first validation items: noisy, target, and estimates over time.

    audio/ITEM-noisy.wav, audio/ITEM-target.wav, audio/ITEM-epoch-0010.wav; figures/ITEM-epoch-0010.png
    shows the three spectrograms. If Weights & Biases is used, it gets the same.

    Args:
        folder: folder of the run.
        every: epochs between examples; the end of the training always writes some.
        count: number of items; 0: no examples.
    """

    def __init__(self, folder: str | Path, every: int = 10, count: int = 3) -> None:
        self.folder, self.every, self.count = Path(folder), every, count
        self._noisy: Tensor | None = None
        self._target: Tensor | None = None
        self._condition: dict[str, Tensor] | None = None
        self._written = -1

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mixture,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store the first items; they are the same in every epoch."""
        # A batch is empty if none of its items could be read.
        met = self._noisy is not None or not len(batch["noisy"])
        if self.count and not met and trainer.is_global_zero:
            self._noisy = batch["noisy"][: self.count].detach()
            self._target = batch["target"][: self.count].detach()
            if "condition" in batch:
                given = batch["condition"].items()
                self._condition = {name: value[: self.count] for name, value in given}

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write examples if they are due in this epoch."""
        if not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every == 0:
            self._write(trainer, cast(Enhancement, pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last examples."""
        self._write(trainer, cast(Enhancement, pl_module))

    def _write(self, trainer: pl.Trainer, module: Enhancement) -> None:
        epoch = trainer.current_epoch
        if not self.count or self._written == epoch:
            return
        self._written = epoch
        # Without dropout, and with the running statistics of norms.
        was_training = module.average.training
        module.average.eval()
        with united(module.average):
            self._write_estimates(trainer, module, epoch)
        module.average.train(was_training)

    @rank_zero_only
    @torch.no_grad()
    def _write_estimates(self, trainer: pl.Trainer, module: Enhancement, epoch: int) -> None:
        if self._noisy is None or self._target is None:
            return
        estimates = module.average(self._noisy, condition=self._condition).float().cpu()
        rate = module.enhancer.sample_rate
        for folder in ("audio", "figures"):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        for item, (noisy, target, estimate) in enumerate(
            zip(reference(self._noisy).cpu(), self._target.cpu(), estimates, strict=True)
        ):
            sounds = {"noisy": noisy, "target": target, f"epoch-{epoch:04d}": estimate}
            for name, sound in sounds.items():
                path = self.folder / "audio" / f"{item}-{name}.wav"
                soundfile.write(path, sound.numpy(), rate, subtype="FLOAT")
            figure = self.folder / "figures" / f"{item}-epoch-{epoch:04d}.png"
            save_spectrograms(figure, sounds, rate)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    _log_to_wandb(logger, item, path, figure, trainer.global_step)
                if isinstance(logger, TensorBoardLogger):
                    _log_to_tensorboard(logger, item, path, figure, trainer.global_step)


class Lines(Logger):
    """Prints one plain line on stderr for metrics that are logged together; readable in a log file."""

    @property
    def name(self) -> str:
        """Return an empty name: this logger stores nothing."""
        return "lines"

    @property
    def version(self) -> str:
        """Return an empty version: this logger stores nothing."""
        return ""

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Do nothing: config.yaml holds the hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Print a line such as `12:30:00 step 1000  epoch 3  train/loss 0.0312 ...`."""
        told = {name: value for name, value in metrics.items() if name != "epoch"}
        words = [f"{name} {value:.4g}" for name, value in told.items()]
        epoch = f"epoch {int(metrics.get('epoch', 0))}"
        clock = time.strftime("%H:%M:%S")
        # Lightning numbers steps from 0; the line counts the steps that are done.
        print(f"{clock} step {(step or 0) + 1}  {epoch}  {'  '.join(words)}", file=sys.stderr)


def progress_bar() -> RichProgressBar:
    """Return a progress bar on stderr."""
    return RichProgressBar(leave=False, console_kwargs={"stderr": True})


def save_spectrograms(
    path: Path, sounds: dict[str, Float[Tensor, " time"]], sample_rate: int
) -> None:
    """Save spectrograms, one above the other, as PNG; levels are in dB relative to the maximum of all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stft = STFT(n_fft=512, hop_length=128, win_length=512, window="hann")
    powers = {name: _power(stft, sound) for name, sound in sounds.items()}
    # The floor avoids a division by zero for silence.
    top = max(float(power.max()) for power in powers.values()) + 1e-12
    figure = Figure(figsize=(9, 2.2 * len(sounds)), layout="constrained")
    FigureCanvasAgg(figure)
    # One panel for each sound, with one scale of colours for all.
    for row, (name, power) in enumerate(powers.items()):
        axes = figure.add_subplot(len(powers), 1, row + 1)
        seconds = len(sounds[name]) / sample_rate
        image = axes.imshow(
            # -80 dB, below the lower end of the colours.
            10 * np.log10(power / top + 1e-8),
            origin="lower",
            aspect="auto",
            # Up to half the sample rate, in kHz.
            extent=(0.0, seconds, 0.0, sample_rate / 2000),
            vmin=-70.0,
            vmax=0.0,
            cmap="magma",
        )
        axes.set_title(name, loc="left")
        axes.set_ylabel("kHz")
        figure.colorbar(image, ax=axes, label="dB")
    axes.set_xlabel("s")
    figure.savefig(path, dpi=90)


def _power(stft: STFT, sound: Float[Tensor, " time"]) -> np.ndarray:
    return stft.analysis(sound[None])[0].abs().square().numpy()


def _log_to_wandb(logger: WandbLogger, item: int, sound: Path, figure: Path, step: int) -> None:
    import wandb

    logger.experiment.log(
        {
            f"examples/{item}/estimate": wandb.Audio(str(sound)),
            f"examples/{item}/spectrograms": wandb.Image(str(figure)),
            # The axis of all metrics of WandbLogger.
            "trainer/global_step": step,
        }
    )


def _log_to_tensorboard(
    logger: TensorBoardLogger, item: int, sound: Path, figure: Path, step: int
) -> None:
    from matplotlib.image import imread

    estimate, rate = soundfile.read(sound, dtype="float32")
    board = logger.experiment
    board.add_audio(f"examples/{item}/estimate", torch.from_numpy(estimate)[None], step, rate)
    image = imread(figure)
    board.add_image(f"examples/{item}/spectrograms", image, step, dataformats="HWC")
