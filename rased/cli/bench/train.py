"""Measure the speed and memory of training, and the overhead of the trainer over a plain PyTorch loop."""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rased.cli.options import add_choice, add_value, given
from rased.errors import RasedError

if TYPE_CHECKING:
    from rased.data.mixtures.sample import Mixture
    from rased.training.base import Enhancement

EXAMPLES = """\
examples:
  rased bench train --model gtcrn fastenhancer-t      two architectures
  rased bench train --model 'fastenhancer-*' --json   all that match a pattern
  rased bench train --model gtcrn --device cuda --batch-size 64 --compile

Each architecture is measured in its own process, in float32, on one batch that is repeated. On a CPU, figures are
seconds of audio per processor second on one thread; on a GPU, per second of the clock. The first step of each loop does
not count.
  trainer        a step of `rased train` with the settings of configs/trainer/default.yaml, without data loading,
                 callbacks and log files
  bare           the same network, loss, optimiser and batch in a plain PyTorch loop
  overhead       the share of time that the trainer adds: Lightning, the moving average of the weights, check and
                 clipping of the gradient, collecting the figures of the log
  peak_mb        peak memory of both loops: on a CPU without the imports, on a GPU what PyTorch allocates
  mb_per_second  peak_mb per second of audio in the batch
  compiled       the plain loop with torch.compile (with --compile)
"""

_CHILD = "import sys; from rased.cli.bench.train import tell; tell(sys.argv[1])"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `rased bench train`."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--model", nargs="+", metavar="NAME", help="architectures or patterns (default: all)"
    )
    add_value(parser, "--batch-size", "N", 8, "mixtures in a batch")
    add_value(parser, "--seconds", "S", 4.0, "length of a mixture in seconds")
    add_value(parser, "--steps", "N", 4, "steps in a round")
    add_value(parser, "--rounds", "N", 3, "rounds of each loop, in turn; the median counts")
    add_choice(parser, "--device", ("cpu", "cuda"), "device of both loops")
    parser.add_argument(
        "--compile", action="store_true", help="measure the bare loop with torch.compile too"
    )


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return the figures of each architecture.

    Raises:
        RasedError: no architecture has such a name, or there is no GPU.
    """
    import torch

    names = matching(arguments.model or ["*"])
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise RasedError("--device cuda: PyTorch finds no GPU here; use --device cpu.")
    shared = given(arguments, figures)
    return {name: _apart({"name": name, **shared}) for name in names}


def matching(patterns: Sequence[str]) -> list[str]:
    """Return the architectures that match, each once.

    Raises:
        RasedError: a pattern matches none.
    """
    from rased import list_models

    found: list[str] = []
    for pattern in patterns:
        names = list_models(pattern)
        if not names:
            raise RasedError(f"no architecture matches '{pattern}': see `rased models`.")
        found += names
    return list(dict.fromkeys(found))


def _apart(words: dict[str, Any]) -> dict[str, Any]:
    """Measure in a fresh process, whose peak of memory is its own; a fork could not use the GPU."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        return {"failed": reason[-1] if reason else f"exit status {done.returncode}"}
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def tell(words: str) -> None:
    """Print the figures of one architecture as JSON; `words` is a mapping of `figures`' arguments."""
    warnings.simplefilter("ignore")
    print(json.dumps(figures(**json.loads(words))))


def figures(
    name: str,
    *,
    batch_size: int,
    seconds: float,
    steps: int,
    rounds: int,
    device: str,
    compile: bool,
) -> dict[str, Any]:
    """Measure both loops in turn, so that what else the machine does strikes both."""
    import torch

    import rased.training.checkpoint  # noqa: F401 (before the memory is read: imports do not count)
    from rased.machine import peak_memory

    torch.set_num_threads(1)
    before = peak_memory()
    module, batch = _prepared(name, batch_size, seconds, device)
    bare, trained = [], []
    for _ in range(rounds):
        bare.append(_bare(module, batch, steps, module.enhancer.predict))
        trained.append(_trained(module, batch, steps))
    audio = batch_size * seconds
    plain, ours = statistics.median(bare), statistics.median(trained)
    found = {"trainer": audio / ours, "bare": audio / plain, "overhead": ours / plain - 1}
    if device == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    elif before is not None:
        found["peak_mb"] = (peak_memory() or before) - before
    if "peak_mb" in found:
        found["mb_per_second"] = found["peak_mb"] / audio
    if compile:
        faster = torch.compile(module.enhancer.predict)
        found["compiled"] = audio / _bare(module, batch, steps, faster)
    return found


def training_speed(name: str, *, batch_size: int, seconds: float, steps: int) -> float:
    """Return seconds of audio per processor second in the trainer, on one thread."""
    module, batch = _prepared(name, batch_size, seconds, "cpu")
    return batch_size * seconds / _trained(module, batch, steps)


def step_memory(name: str, *, seconds: float) -> float | None:
    """Return the peak memory of this process in MB after a step of training on one mixture; None if unknown."""
    from rased.machine import peak_memory

    module, batch = _prepared(name, 1, seconds, "cpu")
    _bare(module, batch, 1, module.enhancer.predict)
    return peak_memory()


def _prepared(
    name: str, batch_size: int, seconds: float, device: str
) -> "tuple[Enhancement, Mixture]":
    """Return an untrained module and its batch."""
    from rased.models.registry import model_config
    from rased.training.checkpoint import build_module

    module = build_module(model_config(name))
    # So small that the weights, and with them the cost of a step, stay the same over all rounds.
    module.optimisation = replace(module.optimisation, lr=1e-6)
    batch = _batch(batch_size, round(seconds * module.enhancer.sample_rate), device)
    if module.enhancer.needs_statistics:
        module.enhancer.fit_statistics([(batch["noisy"].cpu(), batch["target"].cpu())])
    return module, batch


def _batch(size: int, samples: int, device: str) -> "Mixture":
    """Return noise that comes and goes as target, and white noise on it."""
    import torch

    from rased.data.mixtures.sample import Mixture

    generator = torch.Generator().manual_seed(0)
    gate = (torch.arange(samples) // 4_000 % 3 > 0).float()
    target = 0.1 * gate * torch.randn(size, samples, generator=generator)
    noise = 0.03 * torch.randn(size, samples, generator=generator)
    names = [""] * size
    return Mixture(
        noisy=(target + noise).to(device),
        target=target.to(device),
        early=target.to(device),
        late=torch.zeros_like(target).to(device),
        noise=noise.to(device),
        snr_db=torch.full((size,), 10.0),
        index=torch.arange(size),
        key=names,
        noise_key=names,
        rir_key=names,
        distorted=names,
    )


def _bare(
    module: "Enhancement", batch: "Mixture", steps: int, predict: Callable[..., Any]
) -> float:
    """Return the seconds of a step of a plain loop, with the optimiser of the training."""
    module.to(batch["noisy"].device)  # Lightning moves it to the CPU at the end of a training
    module.enhancer.train()
    optimizer = module.optimisation.build(module.enhancer)
    options = module.enhancer.options(len(batch["noisy"]))  # random numbers, if the model samples
    clock = _Clock(batch)
    for _ in range(steps + 1):
        optimizer.zero_grad()
        module.loss_of(predict(batch["noisy"], **options), batch).backward()
        optimizer.step()
        clock.tick()
    return clock.per_step()


def _trained(module: "Enhancement", batch: "Mixture", steps: int) -> float:
    """Return the seconds of a step of the trainer, with the settings that `rased train` has by default."""
    import pytorch_lightning as pl

    from rased.config import find_config, load_yaml

    clock = _Clock(batch)

    class Ticks(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            clock.tick()

    class Repeated(pl.LightningDataModule):
        def train_dataloader(self) -> Iterable["Mixture"]:
            return _Batches(batch, steps + 1)

    pl.Trainer(
        **load_yaml(find_config("trainer/default"))["trainer"],
        max_steps=steps + 1,
        accelerator="gpu" if batch["noisy"].is_cuda else "cpu",
        devices=1,
        callbacks=[Ticks()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, datamodule=Repeated())
    return clock.per_step()


class _Batches:
    """A loader that gives the same batch again and again; of a list, Lightning would take each item for a loader."""

    def __init__(self, batch: "Mixture", count: int) -> None:
        self.batch, self.count = batch, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator["Mixture"]:
        return itertools.repeat(self.batch, self.count)


class _Clock:
    """Seconds between the ends of steps: of the processor on a CPU, of the clock on a GPU."""

    def __init__(self, batch: "Mixture") -> None:
        self.cuda = batch["noisy"].is_cuda
        self.times: list[float] = []

    def tick(self) -> None:
        """Note the end of a step."""
        if self.cuda:
            import torch

            torch.cuda.synchronize()
        self.times.append(time.perf_counter() if self.cuda else time.process_time())

    def per_step(self) -> float:
        """Return the mean; the first step, which sets everything up, does not count."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)
