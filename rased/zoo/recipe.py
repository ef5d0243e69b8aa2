"""Derive the commands that reproduce the weights of a run from the launches that the run recorded."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rased.training.history import Launch

CONFIG = "training.yaml"
_KNOWN = ("rased.", "pytorch_lightning.", "torch.")


@dataclass(frozen=True)
class Recipe:
    """How to reproduce weights.

    Attributes:
        commands: one per launch, in order, to be run in the folder of the configurations; empty if not reproducible.
        configs: configurations, by the file name used in the commands.
        obstacle: why the training cannot be reproduced; "" if it can.
    """

    commands: list[str]
    configs: dict[str, dict[str, Any]]
    obstacle: str


def recipe(launches: Sequence["Launch"], steps: int, name: str, config: dict[str, Any]) -> Recipe:
    """Return the commands that reproduce a run up to a step.

    A launch that ended early (signal, time limit, kill) is reproduced up to the step at which the next one
    resumed. Launches that only resumed, with nothing changed, are merged into one command.

    Args:
        launches: the launches that started before that step.
        steps: the step.
        name: name of the run that the commands create.
        config: configuration of the last launch.
    """
    legs = _legs(launches)
    obstacle = _obstacle(launches, [leg for leg, _ in legs])
    if obstacle:
        return Recipe([], {CONFIG: config}, obstacle)
    names = [f"training-{number}.yaml" for number in range(1, len(legs))] + [CONFIG]
    commands = []
    for number, ((leg, launch), file) in enumerate(zip(legs, names, strict=True)):
        last = number + 1 == len(legs)
        words = f"--resume runs/{name} -c {file}" if number else f"-c {file} --name {name}"
        # The best checkpoint may be older than the end of its launch, and a launch that was killed ended where the next
        # one resumed.
        stop = steps if last else legs[number + 1][1].step
        if not (last and stop == _total(leg, launch)):
            words += f" --run.stop_after {stop}"
        if launch.world_size > 1:
            words += f" --trainer.devices {launch.world_size}"
        commands.append(f"rased train {words}")
    return Recipe(commands, {file: leg for (leg, _), file in zip(legs, names, strict=True)}, "")


def _legs(launches: Sequence["Launch"]) -> list[tuple[dict[str, Any], "Launch"]]:
    """Return the configurations that differ from the previous one, each with its first launch."""
    legs: list[tuple[dict[str, Any], Launch]] = []
    for launch in launches:
        config = copy.deepcopy(launch.config)
        if isinstance(config.get("run"), dict):
            config["run"].pop("stop_after", None)
        # Resuming with nothing changed continues exactly, so one command gives the same weights as both launches.
        same = legs and legs[-1][0] == config and legs[-1][1].world_size == launch.world_size
        if not same:
            legs.append((config, launch))
    return legs


def _total(config: Mapping[str, Any], launch: "Launch") -> int:
    """Return the step at which a launch ends if nothing stops it; 0 if unknown."""
    trainer = config.get("trainer") or {}
    found = []
    if (trainer.get("max_steps") or -1) > 0:
        found.append(trainer["max_steps"])
    # Epochs are counted from the start of the run, so they say nothing about a launch that resumed.
    if (trainer.get("max_epochs") or -1) > 0 and not launch.step:
        every = launch.accumulate_grad_batches
        found.append(math.ceil(launch.batches_per_epoch / every) * trainer["max_epochs"])
    return min(found, default=0)


def _obstacle(launches: Sequence["Launch"], configs: Sequence[Mapping[str, Any]]) -> str:
    if not launches or launches[0].step:
        done = f"first {launches[0].step} steps" if launches else "steps"
        return f"launches.yaml does not record how its {done} were made"
    for config in configs:
        foreign = sorted(path for path in _class_paths(config) if not path.startswith(_KNOWN))
        if foreign:
            return f"it needs the class {foreign[0]}, which is not part of rased"
        start = (config.get("run") or {}).get("start_from")
        if start and "/" in start:
            return f"it starts from '{start}', which is not a published checkpoint"
    return ""


def _class_paths(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {str(value["class_path"])} if "class_path" in value else set()
        return own.union(*map(_class_paths, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(_class_paths, value))
    return set()
