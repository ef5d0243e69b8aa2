"""Who learns in a training, and how: a player is a module with an optimiser and a schedule of its own."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from rased.building import maker
from rased.classes import OWN
from rased.errors import RasedError, nearest
from rased.names import plain
from rased.training.optimisation import Budget
from rased.training.schedules import Cosine, Schedule, warm_up
from rased.training.suitable import check_numbers

_FACTOR = "lr_factor"
"""In a group of parameters: what its learning rate is multiplied by."""


@dataclass(frozen=True)
class Optimisation:
    """How one player learns.

    Attributes:
        lr: learning rate after the warm-up.
        weight_decay: on matrices and kernels only (no bias, no norm); None: what the optimiser takes by itself (0.01
            of AdamW).
        optimizer: {"class_path": ..., "init_args": {...}}; None: AdamW.
        schedule: how the learning rate changes after the warm-up; None: a cosine to 0.02 of it.
        warmup_steps: steps in which the learning rate rises from zero; a tenth of the budget at most.
        lr_factors: patterns of names of parameters -> factor on the learning rate of those that match; where
            several match, the last one counts.
    """

    lr: float = 1e-3
    weight_decay: float | None = None
    optimizer: Mapping[str, Any] | None = None
    schedule: Schedule | None = None
    warmup_steps: int = 100
    lr_factors: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RasedError: one is out of its range, or given twice.
        """
        names = ("lr", "weight_decay", "warmup_steps")
        check_numbers("model", **{name: (getattr(self, name), 0, None) for name in names})
        if "lr" in self._given:
            raise RasedError(
                "model.optimizer.init_args names lr: leave it out, and write the learning rate as model.lr, which "
                "the schedule follows."
            )
        if self.weight_decay is not None and "weight_decay" in self._given:
            raise RasedError(
                "model.weight_decay and model.optimizer.init_args.weight_decay are both given: leave one of them out."
            )
        for glob, factor in self.lr_factors.items():
            if not 0 < factor < math.inf:
                raise RasedError(
                    f"model.lr_factors: the factor of '{glob}' is {factor}; give more than 0 (--freeze keeps "
                    "parameters fixed)."
                )

    @property
    def _given(self) -> Mapping[str, Any]:
        """What the configuration of the optimiser names."""
        return (self.optimizer or {}).get("init_args") or {}

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Make the optimiser of a module.

        Raises:
            RasedError: there is no such optimiser, or it does not take these values.
        """
        spec = {"class_path": "torch.optim.AdamW"} if self.optimizer is None else self.optimizer
        make = maker(torch.optim.Optimizer, spec, classes=OWN, where="model.optimizer")
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return make(self.groups(module), lr=self.lr, **decay)

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Parameters that are trained, apart where their learning rate or their decay differs."""
        factors = self._factors(module)
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, item in module.named_parameters():
            if item.requires_grad:
                found.setdefault((factors.get(name, 1.0), item.ndim > 1), []).append(item)
        groups = []
        for factor in dict.fromkeys(factor for factor, _ in found):
            for decayed in (True, False):
                if (factor, decayed) in found:
                    group = {"params": found[factor, decayed], _FACTOR: factor}
                    groups.append(group if decayed else {**group, "weight_decay": 0.0})
        return groups

    def _factors(self, module: nn.Module) -> dict[str, float]:
        names = [name for name, _ in module.named_parameters()]
        factors = {}
        for glob, factor in self.lr_factors.items():
            matching = [name for name in names if fnmatchcase(name, glob)]
            if not matching:
                raise RasedError(
                    f"model.lr_factors: '{glob}' matches no parameter of {type(module).__name__}; "
                    f"{nearest(glob.replace('*', ''), names)}"
                )
            factors.update(dict.fromkeys(matching, factor))
        return factors


@dataclass(frozen=True)
class Player:
    """One who learns.

    Attributes:
        name: a word; the log and the checkpoints use it.
        module: whose parameters are trained; a part of the training module.
        optimisation: how.
    """

    name: str
    module: nn.Module
    optimisation: Optimisation = field(default_factory=Optimisation)


class Team:
    """The players of a training with what each has at work: its optimiser and its schedule.

    Args:
        players: at least one; no two share a name or a parameter.

    Raises:
        RasedError: two do, or one has nothing to train.
    """

    def __init__(self, players: Sequence[Player]) -> None:
        _check(players)
        self.players = list(players)
        self.schedules = {
            player.name: copy.deepcopy(player.optimisation.schedule or Cosine())
            for player in players
        }
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._options: dict[str, list[dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self.players)

    def build(self) -> torch.optim.Optimizer:
        """Make the optimisers: the one that there is, or `Together`."""
        self.optimizers = {
            player.name: player.optimisation.build(player.module) for player in self.players
        }
        self._options = {
            name: [_options(group) for group in optimizer.param_groups]
            for name, optimizer in self.optimizers.items()
        }
        if len(self) == 1:
            return next(iter(self.optimizers.values()))
        return Together(self.optimizers)

    def restore_options(self) -> None:
        """Let the configuration count, where a checkpoint has brought back the options of another launch."""
        for name, optimizer in self.optimizers.items():
            for group, options in zip(optimizer.param_groups, self._options[name], strict=True):
                group.update(options)

    def set_rates(self, now: Budget) -> None:
        """Set the learning rates of the next step."""
        for player in self.players:
            settings = player.optimisation
            factor = warm_up(now, settings.warmup_steps) * self.schedules[player.name].share(now)
            for group in self.optimizers[player.name].param_groups:
                group["lr"] = settings.lr * factor * group.get(_FACTOR, 1.0)

    def observe(self, scores: Mapping[str, float]) -> None:
        """Show the schedules what a validation gave."""
        for schedule in self.schedules.values():
            schedule.observe(scores)

    def rate(self, name: str) -> float:
        """Learning rate of a player in this step, factors of its layers aside."""
        group = self.optimizers[name].param_groups[0]
        return float(group["lr"]) / float(group.get(_FACTOR, 1.0))

    def state_dict(self) -> dict[str, Any]:
        """What the schedules remember, and what belongs to the state of each optimiser."""
        return {
            player.name: {
                "optimizer": type(self.optimizers[player.name]).__name__,
                "sizes": _sizes(player),
                "schedule": self.schedules[player.name].state_dict(),
            }
            for player in self.players
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            RasedError: it was written with other players, optimisers or trained parameters.
        """
        names = [player.name for player in self.players]
        if names != [*state]:
            raise _changed("players", ", ".join(state), ", ".join(names))
        for player in self.players:
            before, name = state[player.name], player.name
            kind = type(player.optimisation.build(player.module)).__name__
            if before["optimizer"] != kind:
                raise _changed("optimiser", before["optimizer"], kind)
            if before["sizes"] != _sizes(player):
                raise _changed(
                    "groups of trained parameters (by --freeze, model.lr_factors or the model)",
                    str(before["sizes"]),
                    str(_sizes(player)),
                )
            schedule = self.schedules[name]
            if before["schedule"].keys() == schedule.state_dict().keys():
                schedule.load_state_dict(before["schedule"])


class Together(torch.optim.Optimizer):
    """Several optimisers that Lightning sees as one, so that whatever it counts is a batch and no optimiser.

    The training steps them one by one (`Enhancement.optimizer_step`).

    Args:
        parts: by name of the player.
    """

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer]) -> None:
        groups = [
            {"params": group["params"]} for part in parts.values() for group in part.param_groups
        ]
        super().__init__(groups, {})
        self.parts = dict(parts)
        self._gather()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step all of them by the gradients that are there."""
        loss = None if closure is None else closure()
        for part in self.parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """That of each, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give each its own."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]


def _check(players: Sequence[Player]) -> None:
    if not players:
        raise RasedError("players() names none: a training needs at least one.")
    owners: dict[int, str] = {}
    names: set[str] = set()
    for player in players:
        plain(player.name, what="the name of a player")
        if player.name in names:
            raise RasedError(f"players() names '{player.name}' twice: give each a name of its own.")
        names.add(player.name)
        trained = [item for item in player.module.parameters() if item.requires_grad]
        if not trained:
            raise RasedError(f"the player '{player.name}' has no parameter to train.")
        for item in trained:
            if owners.setdefault(id(item), player.name) != player.name:
                raise RasedError(
                    f"the players '{owners[id(item)]}' and '{player.name}' share a parameter: give it to one of them."
                )


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name not in ("params", "lr")}


def _sizes(player: Player) -> list[int]:
    return [len(group["params"]) for group in player.optimisation.groups(player.module)]


def _changed(what: str, before: str, now: str) -> RasedError:
    return RasedError(
        f"the checkpoint was written with the {what} {before}, and the configuration has {now}: its optimiser cannot "
        "go on; change it back, or start anew from the weights with `rased train --from RUN`."
    )
