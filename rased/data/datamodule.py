"""The LightningDataModule: reads shards, makes mixtures on the device, and can resume from any position."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from rased.data.mixtures import order
from rased.data.mixtures.cache import CACHED, Cache, complete, keep
from rased.data.mixtures.corpus import Corpus, refuse_overlap
from rased.data.mixtures.curriculum import Curriculum
from rased.data.mixtures.loader import Loader
from rased.data.mixtures.mixing import SPECTRA_MB, Mixer, Mixing
from rased.data.mixtures.pairs import in_use
from rased.data.mixtures.plan import ROOMS_MB, Plan, Scene, Shuffle
from rased.data.mixtures.sample import Batch, Mixture
from rased.data.mixtures.unreadable import Unreadable
from rased.data.schemas import Role
from rased.data.shards.block_cache import BLOCK_MB
from rased.errors import RasedError
from rased.signal import convolution

# No epoch of a training has this number, so validation draws are its own.
VALIDATION_EPOCH = -1


class MixtureDataModule(pl.LightningDataModule):
    """Mixes speech, noise and rooms from shards on the fly."""

    def __init__(
        self,
        speech: Sequence[str] = ("bundle",),
        noise: Sequence[str] = ("bundle",),
        rir: Sequence[str] = ("bundle",),
        scene: Scene = Scene(),  # noqa: B008 - a frozen value
        mixing: Mixing = Mixing(),  # noqa: B008 - a frozen value
        batch_size: int = 16,
        samples_per_epoch: int | None = None,
        validation_samples: int | None = None,
        validation_scene: Scene | None = None,
        num_workers: int = 0,
        seed: int = 0,
        max_bad_share: float = 0.01,
        shuffle: Shuffle = "auto",
        block_mb: float = BLOCK_MB,
        window: int = 32,
        cache: Cache | None = None,
        cache_gb: float = 4.0,
        rooms_mb: float = ROOMS_MB,
        spectra_mb: float = SPECTRA_MB,
        curriculum: Curriculum | None = None,
        pairs: Sequence[str] = (),
    ) -> None:
        """Set the sources; `setup` opens them.

        Args:
            speech: shard folders or their URLs (https://, s3://, ...), or `bundle`; the splits train and valid are
                used.
            noise: the same for noise.
            rir: the same for impulse responses; empty: no rooms.
            scene: how mixtures are drawn.
            mixing: the target, and how parts are separated.
            batch_size: mixtures per device and step.
            samples_per_epoch: mixtures in an epoch; None: as many as there are utterances, or pairs without mixtures.
            validation_samples: mixtures for validation, the same in every epoch; None: as many as
                there are utterances.
            validation_scene: how validation mixtures are drawn; None: as in `scene`.
            num_workers: reader processes; they do not affect the mixtures.
            seed: every draw is a function of (seed, epoch, index).
            max_bad_share: share of unreadable samples above which the run stops, if there are more than 10; with
                several ranks, that of all together, checked every 16 batches.
            shuffle: `samples`, `blocks` or `auto`, which means blocks for remote shards; see `Plan` for the
                difference.
            block_mb: megabytes in a block, both of the shuffle and of remote transfers.
            window: blocks of a corpus that are in use at the same time.
            cache: keep decoded recordings as 16-bit samples for later epochs: in `ram`, shared by the workers, or on
                the `device` that mixes. The mixtures are the same bit for bit.
            cache_gb: gigabytes of the cache, on each device; recordings that do not fit are read in every epoch.
            rooms_mb: megabytes of decoded impulse responses that each process caches (least recently used ones
                are dropped).
            spectra_mb: the same for their spectra, on each device.
            curriculum: where the scene of the training mixtures begins; None: it is the same in all epochs.
            pairs: the same as speech for recorded pairs of noisy and clean, of which `scene.pair_probability` is the
                share. If it is 1, the default, speech and noise are not opened.

        Raises:
            RasedError: a number is out of its range.
        """
        super().__init__()
        self.save_hyperparameters()
        at_least(1, batch_size=batch_size)
        at_least(0, num_workers=num_workers)
        at_least(1, samples_per_epoch=samples_per_epoch, validation_samples=validation_samples)
        above_zero(cache_gb=cache_gb, rooms_mb=rooms_mb, spectra_mb=spectra_mb)
        if not 0 <= seed < 2**63:
            raise RasedError(f"seed is {seed}; it must be between 0 and 2^63 - 1.")
        self.sources: dict[Role, list[str]] = {
            "speech": list(speech),
            "noise": list(noise),
            "rir": list(rir),
            "pairs": list(pairs),
        }
        self.scene, self.mixing = scene, mixing
        self.mixer = Mixer(mixing, limit=round(spectra_mb * 1e6))
        self.validation_scene = scene if validation_scene is None else validation_scene
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.samples_per_epoch, self.validation_samples = samples_per_epoch, validation_samples
        self.shuffle, self.block_mb, self.window = shuffle, block_mb, window
        self.cache, self.cache_gb = cache, cache_gb
        self.rooms_mb, self.spectra_mb = rooms_mb, spectra_mb
        self.curriculum = curriculum
        self.unreadable = Unreadable(max_bad_share)
        self._rooms_bytes = 0
        self._plans: dict[str, Plan] = {}
        self._loader: Loader | None = None
        self._resume = (0, 0)
        self._first_batch = self._plain_batches = 0

    def setup(self, stage: str | None = None) -> None:
        """Open the shards, and reject overlapping splits."""
        if self._plans:
            return
        corpora = {
            (role, split): Corpus(names, role=role, split=split, block_mb=self.block_mb)
            for role, names in in_use(self.sources, self.scene, self.validation_scene).items()
            for split in ("train", "valid")
        }
        # Scores on training data are meaningless.
        for role in {role for role, _ in corpora}:
            refuse_overlap(corpora[role, "train"], corpora[role, "valid"])
        for split, scene, count in (
            ("train", self.scene, self.samples_per_epoch),
            ("valid", self.validation_scene, self.validation_samples),
        ):
            self._plans[split] = Plan(
                speech=corpora.get(("speech", split)),
                noise=corpora.get(("noise", split)),
                rir=corpora.get(("rir", split)),
                pairs=corpora.get(("pairs", split)),
                scene=scene,
                seed=self.seed,
                count=count,
                shuffle=self.shuffle,
                window=self.window,
                rooms_mb=self.rooms_mb,
                curriculum=self.curriculum if split == "train" else None,
            )
            if self._plans[split].sample_rate != self.mixing.sample_rate:
                raise RasedError(
                    f"The shards have {self._plans[split].sample_rate} Hz, but mixing.sample_rate is "
                    f"{self.mixing.sample_rate}: set it to the rate of the shards."
                )

    @property
    def skipped(self) -> Counter[str]:
        """Return a sentence for each sample that could not be read, and how often it was tried."""
        return self.unreadable.skipped

    def plan(self, split: str) -> Plan:
        """Return the plan of `train` or `valid`."""
        self.setup()
        return self._plans[split]

    def manifest(
        self, kept: Mapping[str, Mapping[str, Any]] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the data of both splits, {split: {role: Corpus.manifest()}}, merged with an earlier manifest."""
        self.setup()
        manifest = {split: dict(roles) for split, roles in (kept or {}).items()}
        for split, plan in self._plans.items():
            roles = manifest.setdefault(split, {})
            for corpus in plan.corpora:
                roles[corpus.role] = corpus.manifest(roles.get(corpus.role))
        return manifest

    def train_dataloader(self) -> Iterable[Batch]:
        """Return the batches of the current epoch; after loading a state, from its position."""
        if self._loader is None:
            # Only once: the trainer may ask for several loaders.
            told = [*self._rooms_told(), *self._keep()]
            if told:
                _say(f"kept in memory: {'; '.join(told)}.")
        self._loader = self._new_loader("train")
        return _Epochs(self, self._loader)

    def val_dataloader(self) -> Loader:
        """Return the fixed validation mixtures, each on exactly one rank."""
        loader = self._new_loader("valid")
        loader.epoch = VALIDATION_EPOCH
        return loader

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move the tensors to the device; names and draws, thousands of small objects, stay on the host."""
        moved: dict[str, Any] = dict(batch)
        holders = [moved]
        if "stored" in moved:
            # A copy, so that the given batch does not change.
            moved["stored"] = dict(moved["stored"])
            holders.append(moved["stored"])
        for holder in holders:
            for name, value in holder.items():
                if isinstance(value, Tensor):
                    holder[name] = value.to(device, non_blocking=True)
        return cast(Batch, moved)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Mixture:
        """Mix on the device, and count unreadable samples.

        Raises:
            RasedError: more than `max_bad_share` of the samples could not be read.
        """
        self._rooms_bytes = batch["rooms_bytes"]
        self.unreadable.count(batch, self.trainer)
        if "stored" in batch:
            batch = complete(batch, self._corpora())
        return self.mixer(batch)

    def mixtures(self, split: str = "train") -> Iterator[Mixture]:
        """Yield the mixtures of an epoch, for your own training loop. Each call for `train` is the next epoch.

        Args:
            split: `train` or `valid`.

        Raises:
            RasedError: unknown split, or too many unreadable samples.

        >>> data = MixtureDataModule(samples_per_epoch=2, batch_size=2)
        >>> [batch["noisy"].shape[0] for batch in data.mixtures("train")]
        [2]
        """
        if split not in ("train", "valid"):
            raise RasedError(f"unknown split '{split}'; known: train, valid.")
        self.setup()
        loader = self.train_dataloader() if split == "train" else self.val_dataloader()
        for batch in loader:
            yield self.on_after_batch_transfer(batch, 0)

    def kept_bytes(self) -> dict[str, int]:
        """Return the current sizes of the caches of this rank in bytes.

        Returns:
            rooms (impulse responses in the process that read the last batch, times the number of processes),
            spectra (of
            rooms, for mixing) and recordings (decoded; see `cache`).
        """
        kept = [corpus.kept.filled for corpus in self._corpora() if corpus.kept]
        return {
            "rooms": self._rooms_bytes * max(1, self.num_workers),
            "spectra": self.mixer.bytes,
            "recordings": sum(kept),
        }

    def state_dict(self) -> dict[str, int]:
        """Return the position: two integers, independent of the number of workers, ranks and samples per batch."""
        loader = self._loader
        if loader is None or (self.trainer is None and not self._plain_batches):
            return {"epoch": self._resume[0], "position": self._resume[1]}
        if self.trainer is None:
            done = self._plain_batches
        else:
            # Batches of this launch in this epoch; earlier ones are part of `loader.position`.
            done = self._progress().processed - self._first_batch
        position = order.consumed(
            max(0, done),
            loader.position,
            loader.plan.count,
            batch_size=loader.batch_size,
            world_size=loader.world_size,
        )
        return {"epoch": loader.epoch, "position": position}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue from a position."""
        self._resume = (state_dict["epoch"], state_dict["position"])

    def _corpora(self) -> list[Corpus]:
        return [corpus for split in ("train", "valid") for corpus in self.plan(split).corpora]

    def _keep(self) -> list[str]:
        """Enable the cache of recordings; return a message about its size."""
        corpora = self._corpora()
        cached = [corpus for corpus in corpora if corpus.role in CACHED]
        if self.cache is None or not cached or any(corpus.kept for corpus in corpora):
            return []
        sizes = keep(corpora, where=self.cache, limit=round(self.cache_gb * 1e9))
        told = (f"{name} {part / 1e9:.3g} of {all_ / 1e9:.3g} GB" for name, part, all_ in sizes)
        return [f"16-bit samples in {self.cache} (cache_gb {self.cache_gb:g}): {', '.join(told)}"]

    def _rooms_told(self) -> list[str]:
        """Return a message about how many rooms fit the caches."""
        plan = self.plan("train")
        if plan.rir is None:
            return []
        length = convolution.grid_length(plan.frames + plan.taps)
        several = plan.scene.microphones
        rir = torch.zeros(plan.taps) if several == 1 else torch.zeros(several, plan.taps)
        # One response shows the size of all.
        spectra = self.mixing.responses(rir, 0, length)
        told, count = [], len(plan.rir)
        for what, name, limit, size in (
            ("decoded, in each process", "rooms_mb", self.rooms_mb, rir.nbytes),
            ("as spectra", "spectra_mb", self.spectra_mb, spectra.nbytes),
        ):
            fit = min(count, max(1, round(limit * 1e6) // size))
            told.append(
                f"{fit} of {count} rooms {what}: {fit * size / 1e6:.3g} MB ({name} {limit:g})"
            )
        return told

    def _new_loader(self, split: str) -> Loader:
        return Loader(
            self.plan(split),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
        )

    def _begin(self, loader: Loader) -> None:
        """Set epoch and position when an epoch begins; the trainer calls this twice for its first epoch.

        Without a trainer, every loop over the batches is the next epoch.

        The trainer regards the batch whose number equals the length of the loader as the last one. In the middle of
        an epoch, its count is therefore set as if this launch, whose batches may have another size,
        had made the earlier batches, too.
        """
        if self.trainer is None:
            # `state_dict` continues from the next epoch if this one ends, and from `_plain_batches` within it.
            loader.epoch, loader.position = self._resume
            self._resume, self._plain_batches = (loader.epoch + 1, 0), 0
            return
        loader.epoch = self.trainer.current_epoch
        resume_epoch, resume_position = self._resume
        loader.position = resume_position if loader.epoch == resume_epoch else 0
        progress = self._progress()
        if loader.position:
            for state in ("ready", "started", "processed", "completed"):
                setattr(progress, state, loader.begun)
        self._first_batch = progress.processed

    def _counted(self, loader: Loader) -> Iterator[Batch]:
        """Yield batches without a trainer, and advance the position with each."""
        for batch in loader:
            self._plain_batches += 1
            yield batch
        self._plain_batches = 0

    def _progress(self) -> Any:
        """Return the trainer's progress in the current epoch; `processed` counts finished steps."""
        assert self.trainer is not None
        return cast(Any, self.trainer.fit_loop.epoch_loop).batch_progress.current


class _Epochs:
    """Iterable for the trainer; asks the data module for the position each time."""

    def __init__(self, data: MixtureDataModule, loader: Loader) -> None:
        self.data, self.loader = data, loader

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch."""
        self.data._begin(self.loader)
        if self.data.trainer is None:
            return self.data._counted(self.loader)
        return iter(self.loader)


def at_least(least: int, **given: int | None) -> None:
    """Check the minimum of integers; None is not checked.

    Raises:
        RasedError: a number is too small.
    """
    for name, number in given.items():
        if number is not None and number < least:
            raise RasedError(f"{name} is {number}; give {least} or more.")


def above_zero(**given: float) -> None:
    """Check that numbers are above 0.

    Raises:
        RasedError: one is not.
    """
    for name, number in given.items():
        if not number > 0:
            raise RasedError(f"{name} is {number}; give more than 0.")


@rank_zero_only
def _say(sentence: str) -> None:
    """Print a line on stderr, like the other messages of a run."""
    print(sentence, file=sys.stderr)
