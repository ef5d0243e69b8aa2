"""Small parts for the tests of training: an enhancer with dropout, a tone in noise, a signal in time."""

import contextlib
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.losses.base import Loss
from rased.losses.waveform import L1
from rased.models.base import Enhancer, Prediction, SpectralEnhancer, State
from rased.signal.domains import Domain
from rased.signal.features import log_power
from rased.signal.masks import phase_sensitive_mask
from rased.signal.stft import STFT
from rased.training.base import Enhancement
from rased.training.players import Player
from rased.training.schedules import Schedule


class TinyMask(SpectralEnhancer):
    """One hidden layer a frame, dropout, a phase-sensitive mask."""

    def __init__(self, hidden: int = 16, dropout: float = 0.1, stft: STFT = STFT(64, 32, 64)):  # noqa: B008
        super().__init__(stft=stft)
        self.network = nn.Sequential(
            nn.Linear(stft.freq, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, stft.freq),
        )

    def process(
        self, spectrum: Complex[Tensor, "batch freq frames"], state: State
    ) -> tuple[Prediction, State]:
        frames = rearrange(log_power(spectrum) / 10, "batch freq frames -> batch frames freq")
        mask = rearrange(self.network(frames), "batch frames freq -> batch freq frames").sigmoid()
        return Prediction.of_spectrum(spectrum * mask, mask=mask, output=mask), state

    domains = ("waveform", "spectrum", "output")

    def ideal(
        self,
        domain: Domain,
        *,
        noisy: Float[Tensor, "batch time"],
        target: Float[Tensor, "batch time"],
    ) -> Tensor:
        if domain != "output":
            return super().ideal(domain, noisy=noisy, target=target)
        return phase_sensitive_mask(
            noisy=self.stft.analysis(noisy),
            target=self.stft.analysis(target),
        )


class TinyWaveform(Enhancer):
    """Two convolutions in time."""

    def __init__(self, channels: int = 8):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv1d(1, channels, 33, padding=16),
            nn.PReLU(),
            nn.Conv1d(channels, 1, 33, padding=16),
        )

    def predict(self, noisy: Float[Tensor, "batch time"]) -> Prediction:
        return Prediction(self.network(noisy[:, None])[:, 0])


class Critic(nn.Module):
    """Says how clean a waveform is; its norm keeps running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 4, 32, stride=16), nn.BatchNorm1d(4), nn.LeakyReLU(0.2), nn.Conv1d(4, 1, 3)
        )

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, " batch"]:
        return self.layers(waveform[:, None]).mean((1, 2))


class Adversarial(Enhancement):
    """Two players: the enhancer is to please a critic, who is to tell its estimates from clean speech."""

    def __init__(
        self,
        enhancer: Enhancer,
        loss: nn.Module | None = None,
        lr: float = 1e-3,
        warmup_steps: int = 2,
        ema_decay: float = 0.9,
        optimizer: Mapping[str, Any] | None = None,
        critic_lr: float = 2e-3,
        critic_schedule: Schedule | None = None,
        critic_first: bool = True,
    ) -> None:
        super().__init__(
            enhancer, loss, lr, warmup_steps=warmup_steps, ema_decay=ema_decay, optimizer=optimizer
        )
        self.critic, self.critic_first = Critic(), critic_first
        self.critic_optimisation = replace(
            self.optimisation, lr=critic_lr, schedule=critic_schedule
        )

    def default_loss(self) -> Loss:
        return L1()

    def players(self) -> list[Player]:
        critic = Player("critic", self.critic, self.critic_optimisation)
        return [critic, *super().players()] if self.critic_first else [*super().players(), critic]

    def losses(self, batch: Mixture, player: str) -> dict[str, Tensor]:
        prediction = self.enhancer.predict(batch["noisy"])
        if player == "enhancer":
            pleasing = (self.critic(prediction.estimate) - 1).square().mean()
            return {**self.terms_of(prediction, batch), "pleasing": pleasing}
        clean, made = self.critic(batch["target"]), self.critic(prediction.estimate.detach())
        return {"clean": (clean - 1).square().mean(), "made": made.square().mean()}


class Tones(pl.LightningDataModule):
    """Tones in white noise at 0 dB, the same in every epoch."""

    def __init__(self, batches: int = 8, batch_size: int = 4, time: int = 2000):
        super().__init__()
        self.batches, self.batch_size, self.time = batches, batch_size, time

    def train_dataloader(self) -> Any:
        return _Batches(self.batches, self.batch_size, self.time, seed=0)

    def val_dataloader(self) -> Any:
        return _Batches(2, self.batch_size, self.time, seed=1)


class _Batches:
    def __init__(self, count: int, batch_size: int, time: int, seed: int):
        self.count, self.batch_size, self.time, self.seed = count, batch_size, time, seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Mixture]:
        for index in range(self.count):
            yield mixture(self.batch_size, self.time, seed=100 * self.seed + index)


def mixture(batch: int, time: int, seed: int) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    pitch = 0.02 + 0.1 * torch.rand(batch, 1, generator=generator)
    target = 0.1 * torch.sin(2 * torch.pi * pitch * torch.arange(time))
    noise = 0.07 * torch.randn(batch, time, generator=generator)
    return Mixture(
        noisy=target + noise,
        target=target,
        early=target,
        late=torch.zeros_like(target),
        noise=noise,
        snr_db=torch.zeros(batch),
        index=torch.arange(batch),
        key=["tone"] * batch,
        noise_key=["white"] * batch,
        rir_key=[""] * batch,
        distorted=[""] * batch,
    )


class Signal(pl.Callback):
    """Sends this process a signal when `hook` has come round for the `count`-th time (from 1)."""

    def __init__(self, hook: str, count: int, number: int = 15):
        self.left = count
        self.number = number
        setattr(self, hook, self._come)

    def _come(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


class Seen(pl.Callback):
    """Writes a line of JSON for every batch of every rank: the step it is for (from 1), indices and keys."""

    def __init__(self, file: str):
        self.file = Path(file)
        self.step = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.step = trainer.global_step + 1

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        row = {
            "rank": trainer.global_rank,
            "epoch": trainer.current_epoch,
            "step": self.step,
            "index": batch["index"].tolist(),
            "key": list(zip(batch["key"], batch["noise_key"], batch["rir_key"], strict=True)),
        }
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")


class SeenBy(Seen):
    """As `Seen`, with a file for each number of ranks and each rank."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        name = f"{self.file.name}-{trainer.world_size}-{trainer.global_rank}"
        self.file = self.file.with_name(name)


class Heard(pl.Callback):
    """Saves every mixture that the module gets as FOLDER/STEP-NUMBER.pt, both counted from 1."""

    def __init__(self, folder: str):
        self.folder = Path(folder)
        self.step = self.number = 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step + 1
        self.number = self.number + 1 if step == self.step else 1
        self.step = step
        self.folder.mkdir(exist_ok=True)
        torch.save(dict(batch), self.folder / f"{step:03d}-{self.number}.pt")


class KilledWorker(pl.Callback):
    """Kills the processes that read data, after so many batches."""

    def __init__(self, count: int):
        self.left = count

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            # All, in no order: one alone may be a worker of the validation, which is over.
            for child in multiprocessing.active_children():
                child.kill()


class WrappedDeath(pl.Callback):
    """Raises what PyTorch's signal handler raises when a worker dies, as code passes it on that wraps any error.

    The handler runs in the middle of any statement, such as the check of a type.
    """

    def on_train_batch_end(self, *arguments: Any) -> None:
        death = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
        raise TypeError("not a waveform") from death


class SecondDeath(WrappedDeath):
    """Raises once more while the first error is dealt with, as when two workers die."""

    def on_exception(self, *arguments: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 8) is killed by signal: Killed.")


class FullDisk(pl.Callback):
    """Leaves no byte on a disk, after so many batches."""

    def __init__(self, disk: str, count: int):
        self.disk, self.left = Path(disk), count

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            with contextlib.suppress(OSError), (self.disk / "filler").open("wb", 0) as file:
                while True:
                    file.write(b"0" * 512)


class Killed(BaseException):
    """What ends a training in the middle of anything, as a kill does."""


class Kill(pl.Callback):
    """Ends the training without a word when `hook` has come round for the `count`-th time (from 1)."""

    def __init__(self, hook: str, count: int):
        self.left = count
        setattr(self, hook, self._come)

    def _come(self, *arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


class NotFinite(pl.Callback):
    """Puts a NaN into the batches that these optimiser steps (from 1) see."""

    def __init__(self, steps: list[int]):
        self.steps = steps

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step + 1 in self.steps:
            batch["noisy"][0, 0] = float("nan")


class Normed(TinyMask):
    """With a norm that keeps running statistics before anything else."""

    def __init__(self, hidden: int = 16):
        super().__init__(hidden=hidden)
        self.norm = nn.BatchNorm1d(self.stft.freq)

    def process(
        self, spectrum: Complex[Tensor, "batch freq frames"], state: State
    ) -> tuple[Prediction, State]:
        frames = rearrange(self.norm(log_power(spectrum)), "batch freq frames -> batch frames freq")
        mask = rearrange(self.network(frames), "batch frames freq -> batch freq frames").sigmoid()
        return Prediction.of_spectrum(spectrum * mask, mask=mask, output=mask), state


class Stuck(Tones):
    """Tones whose batch number `stuck` (from 1) of one split never comes; `own` sends the signal meanwhile."""

    def __init__(self, split: str, stuck: int, number: int = 15, batches: int = 3):
        super().__init__(batches=batches)
        self.split, self.stuck, self.number = split, stuck, number
        self.come = 0

    def train_dataloader(self) -> Any:
        return _Waits(self, "train", super().train_dataloader())

    def val_dataloader(self) -> Any:
        return _Waits(self, "valid", super().val_dataloader())


class _Waits:
    def __init__(self, data: Stuck, split: str, batches: _Batches):
        self.data, self.split, self.batches = data, split, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Mixture]:
        for batch in self.batches:
            if self.split == self.data.split:
                self.data.come += 1
                if self.data.come == self.data.stuck:
                    threading.Timer(0.2, os.kill, (os.getpid(), self.data.number)).start()
                    time.sleep(600)
            yield batch
