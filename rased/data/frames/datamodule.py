"""The LightningDataModule of a file of frames: trains on random frames of mixtures, validates on mixtures."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset
from webdataset import DataPipeline

from rased.data.datamodule import MixtureDataModule, at_least
from rased.data.frames.file import CHUNK, FrameFile
from rased.data.frames.sources import describe_mixtures
from rased.data.mixtures import order, stages
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.mixing import Mixing
from rased.data.mixtures.order import Span
from rased.data.mixtures.plan import Scene
from rased.data.mixtures.sample import Batch, FrameBatch, Mixture
from rased.errors import RasedError


class FramePlan:
    """The order of the frames of a file: a pure function of (seed, epoch, index); each frame occurs once per pass.

    Pieces of 128 frames from anywhere in the file form a pool, and the frames of a pool are shuffled. This is
    close to a full shuffle, but reads the file once per epoch, and works for a file of any size.

    Attributes:
        count: frames in an epoch.
    """

    def __init__(
        self,
        file: FrameFile,
        *,
        split: str,
        past: int,
        future: int,
        noise_frames: int,
        seed: int,
        pool_frames: int,
        count: int | None = None,
    ) -> None:
        self.file, self.seed = file, seed
        self.past, self.future, self.noise_frames = past, future, noise_frames
        self.first, end = file.split(split)
        self.frames = end - self.first
        self.count = self.frames if count is None else count
        self._pieces = self.frames // CHUNK  # the remaining frames belong to the last pool
        self._pool_pieces = max(1, pool_frames // CHUNK)
        self._pools = max(1, self._pieces // self._pool_pieces)
        self._kept: tuple[tuple[int, int, int], NDArray[np.int64]] | None = None

    def numbers(self, epoch: int, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers (in the file) of the frames [start, stop) of an epoch."""
        found = []
        while start < stop:
            # An epoch longer than the file takes several turns through it, each in another order.
            turn, place = divmod(start, self.frames)
            # The last pool is longer: it takes what is left.
            pool = min(place // (self._pool_pieces * CHUNK), self._pools - 1)
            place -= pool * self._pool_pieces * CHUNK
            part = self._pool(epoch, turn, pool)[place : place + stop - start]
            found.append(part)
            start += len(part)
        return np.concatenate(found)

    def batches(self, spans: Iterable[Span], *, epoch: int) -> Iterator[FrameBatch]:
        """Read the frames of each batch."""
        for span in spans:
            numbers = self.numbers(epoch, span.start, span.stop)
            windows = self.file.windows("noisy", numbers, past=self.past, future=self.future)
            noise = self.file.noise("noisy", numbers, future=self.future, count=self.noise_frames)
            yield FrameBatch(
                windows=torch.from_numpy(windows),
                noise=torch.from_numpy(noise),
                target=torch.from_numpy(self.file.windows("target", numbers)[:, 0]),
                index=torch.arange(span.start, span.stop),
            )

    def _pool(self, epoch: int, turn: int, pool: int) -> NDArray[np.int64]:
        """Return the frames of a pool in their order."""
        if self._kept is None or self._kept[0] != (epoch, turn, pool):
            # Numbers of the draws of a turn: the order of the pieces, then the order within each pool.
            draw = turn * (self._pools + 1)
            pieces = order.permutation(self.seed, epoch, draw, self._pieces)
            begin = pool * self._pool_pieces
            last = pool == self._pools - 1
            starts = pieces[begin : None if last else begin + self._pool_pieces] * CHUNK
            frames = (starts[:, None] + np.arange(CHUNK)).reshape(-1)
            if last:
                frames = np.append(frames, np.arange(self._pieces * CHUNK, self.frames))
            mixed = order.permutation(self.seed, epoch, draw + 1 + pool, len(frames))
            self._kept = ((epoch, turn, pool), self.first + frames[mixed])
        return self._kept[1]


class FrameLoader(Loader):
    """A loader of a plan of frames."""

    def dataset(self) -> IterableDataset[Any]:
        """Return the batches of this rank from the position on."""
        plan: FramePlan = self.plan
        pipeline = DataPipeline(
            partial(
                stages.spans,
                position=self.position,
                count=plan.count,
                batch_size=self.batch_size,
                rank=self.rank,
                world_size=self.world_size,
            ),
            partial(plan.batches, epoch=self.epoch),
        )
        return cast(IterableDataset[Any], pipeline)


class FramesDataModule(MixtureDataModule):
    """Trains from a file of frames of the mixtures that a MixtureDataModule would draw, and validates on mixtures.

    Y. Xu, J. Du, L.-R. Dai, C.-H. Lee, "An experimental study on speech enhancement based on deep
    neural networks", IEEE SPL 2014: the features of all training mixtures are computed once, and the
    network is trained on single frames in random order.
    """

    def __init__(
        self,
        file: str,
        speech: Sequence[str] = ("bundle",),
        noise: Sequence[str] = ("bundle",),
        rir: Sequence[str] = ("bundle",),
        scene: Scene = Scene(),  # noqa: B008 - a frozen value
        mixing: Mixing = Mixing(),  # noqa: B008 - a frozen value
        batch_size: int = 512,
        frames_per_epoch: int | None = None,
        pool_frames: int = 16_384,
        validation_samples: int | None = None,
        validation_scene: Scene | None = None,
        validation_batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        max_bad_share: float = 0.01,
    ) -> None:
        """Set the file and the data that it was made from.

        Args:
            file: written by `rased data frames -c` from the same data section.
            speech: see `MixtureDataModule`, also for other arguments.
            noise: see `MixtureDataModule`.
            rir: see `MixtureDataModule`.
            scene: how the mixtures of the file were drawn.
            mixing: the target, and how parts are separated.
            batch_size: frames per device and step.
            frames_per_epoch: frames in an epoch; None: all frames of the file.
            pool_frames: frames that are shuffled together, from pieces anywhere in the file.
            validation_samples: mixtures for validation.
            validation_scene: how validation mixtures are drawn; None: as in `scene`.
            validation_batch_size: mixtures per device and step of validation.
            num_workers: reader processes; they do not affect the batches.
            seed: seed of the mixtures and of the order of the frames.
            max_bad_share: share of unreadable mixtures above which the run stops.
        """
        super().__init__(
            speech=speech,
            noise=noise,
            rir=rir,
            scene=scene,
            mixing=mixing,
            # The loader of mixtures serves the validation alone.
            batch_size=validation_batch_size,
            validation_samples=validation_samples,
            validation_scene=validation_scene,
            num_workers=num_workers,
            seed=seed,
            max_bad_share=max_bad_share,
        )
        at_least(
            1, batch_size=batch_size, pool_frames=pool_frames, frames_per_epoch=frames_per_epoch
        )
        self.file, self.pool_frames = file, pool_frames
        self.frame_batch_size, self.frames_per_epoch = batch_size, frames_per_epoch
        self._context = {"past": 0, "future": 0, "noise_frames": 1}
        self._frames: FrameFile | None = None

    @property
    def frames(self) -> FrameFile:
        """Return the open file."""
        self.setup()
        assert self._frames is not None
        return self._frames

    def setup(self, stage: str | None = None) -> None:
        """Open the file and the shards.

        Raises:
            RasedError: the file was made from other data, or the splits of the shards overlap.
        """
        super().setup(stage)
        if self._frames is not None:
            return
        file = FrameFile(self.file)
        asked = describe_mixtures(self._plans["train"], self.mixing)
        differs = [name for name in asked if file.source.get(name) != asked[name]]
        if differs:
            raise RasedError(
                f"'{self.file}' was not made from this data section (different: {', '.join(differs)}): write "
                "it again with `rased data frames -c DATA.yaml --hours H --out FILE`, or restore these settings."
            )
        self._frames = file

    def show(self, *, past: int, future: int, noise_frames: int) -> None:
        """Set the inputs of the network: frames of context, and frames for the noise estimate."""
        self._context = {"past": past, "future": future, "noise_frames": noise_frames}

    def on_after_batch_transfer(  # type: ignore[override]
        self, batch: Batch | FrameBatch, dataloader_idx: int
    ) -> Mixture | FrameBatch:
        """Mix a batch of mixtures; return a batch of frames unchanged."""
        if "windows" in batch:
            return cast(FrameBatch, batch)
        return super().on_after_batch_transfer(cast(Batch, batch), dataloader_idx)

    def _new_loader(self, split: str) -> Loader:
        loader = super()._new_loader(split)
        if split != "train":
            return loader
        plan = FramePlan(
            self.frames,
            split=split,
            seed=self.seed,
            pool_frames=self.pool_frames,
            count=self.frames_per_epoch,
            **self._context,
        )
        return FrameLoader(
            plan,
            batch_size=self.frame_batch_size,
            num_workers=loader.num_workers,
            rank=loader.rank,
            world_size=loader.world_size,
        )
