"""What a training costs beside its arithmetic: the bare loop on the same module, and the mixing alone.

  python experiments/gpu/bare.py NAME... --device cuda --steps 40 [-- WORDS OF rased train]

Prints what mixing a batch takes, and for each training, in bfloat16 and in TF32, audio seconds per second and losses of
forward, backward, clipping, AdamW and average on one mixture that stays.
"""

import argparse
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml

from rased.building import build
from rased.classes import OWN
from rased.config import load_configs, override
from rased.training.base import Enhancement
from rased.training.optimisation import update_average

HERE = Path(__file__).parent


def parts(name: str, words: list[str]) -> tuple[dict[str, Any], Enhancement, Any]:
    """Configuration, module and data of a training."""
    path = HERE / f"{name}.yaml"
    told = path.read_text().splitlines()[0].split()
    given = [after for word, after in pairwise(told) if word == "-c"]
    config = load_configs([*given, str(path)])
    for key, value in zip(words[::2], words[1::2], strict=True):
        config = override(config, key.lstrip("-"), yaml.safe_load(value))
    module = build(Enhancement, config["model"], classes=OWN, where="model")
    return config, module, build(pl.LightningDataModule, config["data"], classes=OWN, where="data")


def wait(device: torch.device) -> None:
    """Until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def mixing(data: Any, device: torch.device) -> Any:
    """A mixture of the loader; tells what mixing takes."""
    loader = iter(data.train_dataloader().loader)
    for _ in range(8):
        batch = data.transfer_batch_to_device(next(loader), device, 0)
        wait(device)
        begun = time.perf_counter()
        mixture = data.on_after_batch_transfer(batch, 0)
        told = time.perf_counter() - begun
        wait(device)
        done = time.perf_counter() - begun
    rows = len(batch["key"])
    print(
        f"mixing {rows} mixtures: {1e3 * told:.1f} ms of the host, {1e3 * done:.1f} ms in all",
        flush=True,
    )
    return mixture


def loop(name: str, module: Enhancement, mixture: Any, half: bool, steps: int) -> None:
    """Train on one mixture; tell speed, memory and losses."""
    device = mixture["noisy"].device
    torch.manual_seed(0)
    optimiser = module.configure_optimizers()
    losses, begun = [], 0.0
    for step in range(steps + 5):
        if step == 5:
            wait(device)
            begun = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = module.training_step(mixture, 0)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.enhancer.parameters(), 5.0)
        optimiser.step()
        update_average(module.average, module.enhancer, 0.999)
        losses.append(float(loss.detach()))
    wait(device)
    elapsed = time.perf_counter() - begun
    most = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    shown = " ".join(f"{value:.3f}" for value in losses[:: max(1, len(losses) // 6)])
    print(
        f"{name} {'bf16' if half else 'tf32'}: {steps * module.seconds(mixture) / elapsed:.0f} s/s, "
        f"{1e3 * elapsed / steps:.1f} ms a step, {most:.1f} GiB, losses {shown}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=40)
    given = sys.argv[1:]
    place = given.index("--") if "--" in given else len(given)
    arguments = parser.parse_args(given[:place])
    torch.set_float32_matmul_precision("high")
    device = torch.device(arguments.device)
    mixture = None
    for name in arguments.names:
        for half in (True, False):
            _, module, data = parts(name, given[place + 1 :])
            module.to(device)
            module.log = lambda *_, **__: None  # type: ignore[method-assign]
            if mixture is None:
                mixture = mixing(data, device)
            rows = {
                key: value[: data.batch_size] if isinstance(value, torch.Tensor) else value
                for key, value in mixture.items()
            }
            try:
                loop(name, module, rows, half, arguments.steps)
            except Exception as error:  # the others are still to be measured
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
            del module
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
