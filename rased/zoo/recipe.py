"""The commands that make the weights of a run again, from the launches that it kept."""

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
    """How to train the same weights.

    Attributes:
        commands: one a launch, in order, typed where the configurations are; none where nothing repeats them.
        configs: configurations by the file name that the commands give.
        obstacle: why no commands repeat the training; "" where they do.
    """

    commands: list[str]
    configs: dict[str, dict[str, Any]]
    obstacle: str


def recipe(launches: Sequence["Launch"], steps: int, name: str, config: dict[str, Any]) -> Recipe:
    """Find the commands that repeat a run up to a step.

    A launch that ended early (a signal, the clock, a kill) is repeated up to the step at which the next one
    went on; launches that only went on, with nothing changed, are one.

    Args:
        launches: those that began before that step.
        steps: the step.
        name: of the run that the commands make.
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
        stop = steps if last else legs[number + 1][1].step
        if not (last and stop == _total(leg, launch)):
            words += f" --run.stop_after {stop}"
        if launch.world_size > 1:
            words += f" --trainer.devices {launch.world_size}"
        commands.append(f"rased train {words}")
    return Recipe(commands, {file: leg for (leg, _), file in zip(legs, names, strict=True)}, "")


def _legs(launches: Sequence["Launch"]) -> list[tuple[dict[str, Any], "Launch"]]:
    """Configurations that differ from those before them, each with its first launch."""
    legs: list[tuple[dict[str, Any], Launch]] = []
    for launch in launches:
        config = copy.deepcopy(launch.config)
        if isinstance(config.get("run"), dict):
            config["run"].pop("stop_after", None)
        same = legs and legs[-1][0] == config and legs[-1][1].world_size == launch.world_size
        if not same:
            legs.append((config, launch))
    return legs


def _total(config: Mapping[str, Any], launch: "Launch") -> int:
    """Steps at which a launch ends by itself; 0 where that is not known."""
    trainer = config.get("trainer") or {}
    found = []
    if (trainer.get("max_steps") or -1) > 0:
        found.append(trainer["max_steps"])
    if (trainer.get("max_epochs") or -1) > 0 and not launch.step:
        every = launch.accumulate_grad_batches
        found.append(math.ceil(launch.batches_per_epoch / every) * trainer["max_epochs"])
    return min(found, default=0)


def _obstacle(launches: Sequence["Launch"], configs: Sequence[Mapping[str, Any]]) -> str:
    if not launches or launches[0].step:
        done = f"first {launches[0].step} steps" if launches else "steps"
        return f"launches.yaml does not tell how its {done} were made"
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
