"""The loader: batches of an epoch from any position on, read by any number of workers."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, IterableDataset

from rased.data.mixtures import order
from rased.data.mixtures.heap import keep_freed_memory
from rased.data.mixtures.ring import Receiver, Sender
from rased.data.mixtures.sample import Batch
from rased.data.mixtures.stream import stream
from rased.errors import RasedError

_PREFETCHED = 4
"""Batches that each worker reads ahead."""


class Loader:
    """Yields the epochs of a plan, each from the position that is set; its length is that of a whole epoch.

    Attributes:
        plan: a `Plan`; for a loader with its own `dataset`, any object with the `count` of samples in an epoch.
    """

    def __init__(
        self, plan: Any, *, batch_size: int, num_workers: int, rank: int, world_size: int
    ) -> None:
        self.plan, self.batch_size, self.num_workers = plan, batch_size, num_workers
        self.rank, self.world_size = rank, world_size
        self.epoch, self.position = 0, 0

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return self._steps_from(0)

    @property
    def begun(self) -> int:
        """Return the number of batches of a whole epoch before the position; 0 at its beginning."""
        return len(self) - self._steps_from(self.position)

    def _steps_from(self, position: int) -> int:
        return order.steps(
            position, self.plan.count, batch_size=self.batch_size, world_size=self.world_size
        )

    def dataset(self) -> IterableDataset[Batch]:
        """Return the batches of this rank from the position to the end of the epoch, for any number of workers."""
        return stream(
            self.plan,
            epoch=self.epoch,
            position=self.position,
            batch_size=self.batch_size,
            rank=self.rank,
            world_size=self.world_size,
        )

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches from the position to the end of the epoch."""
        keep_freed_memory()
        pinned = torch.cuda.is_available()
        loader: DataLoader[Batch] = DataLoader(
            self.dataset(),
            # The dataset yields whole batches; torch then gives each of them to `collate_fn` as it is.
            batch_size=None,
            num_workers=self.num_workers,
            # With workers, the receiver copies to page-locked memory itself.
            pin_memory=pinned and not self.num_workers,
            prefetch_factor=_PREFETCHED if self.num_workers else None,
            worker_init_fn=_start_worker,
            # One slot more than batches ahead: the one that is copied out now.
            collate_fn=Sender(_PREFETCHED + 1),
        )
        receive = Receiver(pin_memory=pinned)
        try:
            with _signals_held():
                messages = iter(loader)
            for message in messages:
                yield cast(Batch, receive(message))
        except RasedError as error:  # a worker's error contains its traceback
            kind = type(error)
            raise kind(str(error).rpartition(f"{kind.__name__}: ")[2].strip()) from error
        except ConnectionError as error:
            # At any other time, torch raises this error itself when a worker dies.
            raise RuntimeError("DataLoader worker died while it handed over a batch") from error


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while workers begin: each has the trainer's handlers until it sets its own."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(worker: int) -> None:
    """Start a worker with one thread. It ignores Ctrl-C and SIGTERM to the group; the trainer ends its workers."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        # Elsewhere (macOS) the sender of a SIGTERM is unknown: any SIGTERM ends the worker.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_the_trainer, daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_with_the_trainer() -> None:
    """End this worker on SIGTERM from its trainer only: otherwise the trainer would wait forever for it at exit."""
    trainer = multiprocessing.parent_process()
    assert trainer is not None
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer.pid:
        pass
    os._exit(0)
