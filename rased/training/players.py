"""Players of a training: modules that are trained, each with its own optimiser and schedule."""

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
"""Key in a parameter group: factor on its learning rate."""


@dataclass(frozen=True)
class Optimisation:
    """Optimiser settings of one player.

    Attributes:
        lr: learning rate after the warm-up.
        weight_decay: for matrices and kernels only (not biases and norms); None: the default of the optimiser (0.01
            for AdamW).
        optimizer: {"class_path": ..., "init_args": {...}}; None: AdamW.
        schedule: learning rate schedule after the warm-up; None: a cosine to 0.02 of the learning rate.
        warmup_steps: steps in which the learning rate rises from zero; at most a tenth of the budget.
        lr_factors: patterns of parameter names -> factor on the learning rate; if several patterns match, the last
            one applies.
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
            RasedError: a number is out of its range, or a setting is given twice.
        """
        names = ("lr", "weight_decay", "warmup_steps")
        check_numbers("model", **{name: (getattr(self, name), 0, None) for name in names})
        if "lr" in self._given:
            raise RasedError(
                "model.optimizer.init_args contains lr: remove it, and set model.lr instead, which "
                "the schedule follows."
            )
        if self.weight_decay is not None and "weight_decay" in self._given:
            raise RasedError(
                "model.weight_decay and model.optimizer.init_args.weight_decay are both given: remove one of them."
            )
        for glob, factor in self.lr_factors.items():
            if not 0 < factor < math.inf:
                raise RasedError(
                    f"model.lr_factors: the factor of '{glob}' is {factor}; give more than 0 (use --freeze to keep "
                    "parameters fixed)."
                )

    @property
    def _given(self) -> Mapping[str, Any]:
        """Return the arguments that the configuration sets for the optimiser."""
        return (self.optimizer or {}).get("init_args") or {}

    def build(self, module: nn.Module) -> torch.optim.Optimizer:
        """Build the optimiser of a module.

        Raises:
            RasedError: there is no such optimiser, or it rejects these values.
        """
        spec = {"class_path": "torch.optim.AdamW"} if self.optimizer is None else self.optimizer
        make = maker(torch.optim.Optimizer, spec, classes=OWN, where="model.optimizer")
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        return make(self.groups(module), lr=self.lr, **decay)

    def groups(self, module: nn.Module) -> list[dict[str, Any]]:
        """Return the trained parameters in groups of equal learning rate and decay."""
        factors = self._factors(module)
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, item in module.named_parameters():
            if item.requires_grad:
                # Biases and the gains of norms have one axis; matrices and kernels have more, and alone decay.
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
    """A module that is trained.

    Attributes:
        name: one word, used in the log and in checkpoints.
        module: the module; part of the training module.
        optimisation: optimiser settings.
    """

    name: str
    module: nn.Module
    optimisation: Optimisation = field(default_factory=Optimisation)


class Team:
    """All players of a training with their optimisers and schedules.

    Args:
        players: at least one; no two may share a name or a parameter.

    Raises:
        RasedError: two players share a name or a parameter, or a player has nothing to train.
    """

    def __init__(self, players: Sequence[Player]) -> None:
        _check(players)
        self.players = list(players)
        # Players may have been given one schedule object, but each needs a state of its own (`Plateau`).
        self.schedules = {
            player.name: copy.deepcopy(player.optimisation.schedule or Cosine())
            for player in players
        }
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._options: dict[str, list[dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self.players)

    def build(self) -> torch.optim.Optimizer:
        """Build the optimiser, or a `Together` of several."""
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
        """Apply the options of the configuration; a resumed checkpoint has restored those of an earlier launch."""
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
        """Pass the scores of a validation to the schedules."""
        for schedule in self.schedules.values():
            schedule.observe(scores)

    def rate(self, name: str) -> float:
        """Return the current learning rate of a player, without factors of its layers."""
        group = self.optimizers[name].param_groups[0]
        return float(group["lr"]) / float(group.get(_FACTOR, 1.0))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the schedules, with facts that identify each optimiser."""
        return {
            player.name: {
                "optimizer": type(self.optimizers[player.name]).__name__,
                "sizes": _sizes(player),
                "schedule": self.schedules[player.name].state_dict(),
            }
            for player in self.players
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint.

        Raises:
            RasedError: the checkpoint has other players, optimisers or trained parameters.
        """
        names = [player.name for player in self.players]
        if names != [*state]:
            raise _changed("players", ", ".join(state), ", ".join(names))
        for player in self.players:
            before, name = state[player.name], player.name
            kind = type(player.optimisation.build(player.module)).__name__
            if before["optimizer"] != kind:
                raise _changed("optimiser", before["optimizer"], kind)
            # torch stores the state of a parameter by its place in the groups.
            if before["sizes"] != _sizes(player):
                raise _changed(
                    "groups of trained parameters (by --freeze, model.lr_factors or the model)",
                    str(before["sizes"]),
                    str(_sizes(player)),
                )
            schedule = self.schedules[name]
            # Another kind of schedule was chosen for this launch: it starts afresh.
            if before["schedule"].keys() == schedule.state_dict().keys():
                schedule.load_state_dict(before["schedule"])


class Together(torch.optim.Optimizer):
    """Several optimisers that look like one to Lightning, so that its step counter counts batches.

    The training calls them one by one (`Enhancement.optimizer_step`).

    Args:
        parts: optimisers by name of the player.
    """

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer]) -> None:
        groups = [
            {"params": group["params"]} for part in parts.values() for group in part.param_groups
        ]
        # For Lightning, which counts, moves and saves optimisers; `_gather` then shares the groups of the parts.
        super().__init__(groups, {})
        self.parts = dict(parts)
        self._gather()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run all optimisers with the current gradients."""
        loss = None if closure is None else closure()
        for part in self.parts.values():
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state of each optimiser, by name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of each optimiser."""
        for name, part in self.parts.items():
            part.load_state_dict(state_dict[name])
        self._gather()

    def _gather(self) -> None:
        # The same dictionaries, so that a changed learning rate shows in both. A part makes new ones when it loads.
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]


def _check(players: Sequence[Player]) -> None:
    if not players:
        raise RasedError("players() returned no player: a training needs at least one.")
    owners: dict[int, str] = {}
    names: set[str] = set()
    for player in players:
        plain(player.name, what="the name of a player")
        if player.name in names:
            raise RasedError(
                f"players() returned two players named '{player.name}': choose different names."
            )
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
        f"the checkpoint was written with the {what} {before}, but the configuration has {now}, so its optimiser state "
        "cannot be used; change it back, or start from the weights with `rased train --from RUN`."
    )
