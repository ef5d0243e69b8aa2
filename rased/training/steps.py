"""Steps of a training: every player in turn, then the moving average; steps that are not finite are skipped."""

import os
import random
from collections.abc import Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from torch import Tensor, nn

from rased.data.mixtures.sample import Mixture
from rased.errors import RasedError
from rased.losses.base import total
from rased.models.base import Enhancer, Prediction
from rased.training import suitable
from rased.training.divided import is_divided, local
from rased.training.optimisation import budget, undo_buffers, update_average
from rased.training.players import Player, Team
from rased.training.skipping import Skipping, gradient_norm


class Steps(pl.LightningModule):
    """Base of `Enhancement`: how a step updates all players, whatever they minimise.

    Attributes:
        enhancer: the network that is trained.
        average: moving average of its weights, updated once per step for any number of players.
        ema_decay: decay per step of the average.
        team: players with their optimisers and schedules, set by `configure_optimizers`.
        skipping: bookkeeping of steps whose gradient was not finite.
        fixed: parts of the enhancer that are not trained; see `rased.training.origin.freeze`.
    """

    enhancer: Enhancer
    average: Enhancer
    ema_decay: float

    def __init__(self) -> None:
        super().__init__()
        self.skipping = Skipping()
        self.team: Team | None = None
        self.fixed: list[nn.Module] = []
        self._turn: Player | None = None
        self._seen_items = 0
        self._notes: dict[str, Tensor | float] = {}
        self._saved_team: dict[str, Any] | None = None

    def players(self) -> Sequence[Player]:
        """Return the players in the order in which they are updated within a step."""
        raise NotImplementedError

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of a player, as named terms that are summed."""
        raise NotImplementedError

    def trained_prediction(self, batch: Mixture) -> Prediction:
        """Run the enhancer that is trained on a batch."""
        raise NotImplementedError

    def rows(self, batch: Mixture) -> int:
        """Return the number of items in a batch; 0 if none of them could be read."""
        return len(batch["noisy"])

    def training_step(self, batch: Mixture, batch_idx: int) -> Float[Tensor, ""]:
        """Run one forward pass for the current player and return its loss.

        A batch without items gives a loss of zero that has a gradient (zero) for every parameter: in distributed
        training, the other ranks wait for this gradient.
        """
        rows, player = self.rows(batch), self._playing
        self._seen_items = rows
        if not rows:
            return self._idle(batch)
        terms = self.losses(batch, player.name)
        suitable.check_terms(terms, player.name)
        loss, word = total(terms), self._word(player)
        self._notes[f"{word}/loss"] = loss.detach()
        if len(terms) > 1:
            self._notes.update({f"{word}/loss/{name}": one.detach() for name, one in terms.items()})
        # DistributedDataParallel waits for a gradient of every parameter, also of those of the players that rest.
        waited_for = len(cast(Team, self.team)) > 1 and torch.distributed.is_initialized()
        return loss + self._nothing() if waited_for else loss

    def _nothing(self) -> Float[Tensor, ""]:
        """Return zero, connected to every trained parameter."""
        # The sum of an empty slice is 0 even for a weight that is not finite, unlike 0 * weight.
        return torch.stack(
            [local(item).flatten()[:0].sum() for item in self.parameters() if item.requires_grad]
        ).sum()

    def _idle(self, batch: Mixture) -> Float[Tensor, ""]:
        """Return the loss of a batch without items."""
        if not is_divided(self.enhancer):
            return self._nothing()
        # The other ranks need the parts that this rank holds, in a forward and a backward pass: those of silence.
        shown = self.trained_prediction(_silence(batch))
        return torch.stack(
            [
                item.flatten()[:0].real.sum().float()
                for item in vars(shown).values()
                if isinstance(item, Tensor) and item.requires_grad
            ]
        ).sum()

    def _word(self, player: Player) -> str:
        alone = len(cast(Team, self.team)) == 1
        return "train" if alone or player.module is self.enhancer else f"train/{player.name}"

    @property
    def _playing(self) -> Player:
        """Return the player to update now.

        Raises:
            RasedError: several players and gradient accumulation, which do not work together.
        """
        team = cast(Team, self.team)
        player = team.players[0] if len(team) == 1 else self._turn
        if player is None:
            raise RasedError(
                f"trainer.accumulate_grad_batches is {self.trainer.accumulate_grad_batches}, but "
                f"{type(self).__name__} trains {len(team)} players in turn: remove it, and increase data.batch_size."
            )
        return player

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimisers of all players, combined into one; `on_train_batch_start` sets the learning rates.

        Raises:
            RasedError: a player cannot be trained, or the checkpoint to resume had other players or optimisers.
        """
        self.team = Team(self.players())
        optimizer = self.team.build()
        if self._saved_team is not None:
            self.team.load_state_dict(self._saved_team)
            self._saved_team = None
        return optimizer

    def on_train_start(self) -> None:
        """Keep running statistics of frozen parts fixed; apply the optimiser options of this launch."""
        for part in self.fixed:
            part.eval()
        # Only now: Lightning restores the state of the optimisers, with their old options, before this hook.
        cast(Team, self.team).restore_options()

    def on_train_batch_start(self, batch: Mixture, batch_idx: int) -> None:
        """Set the learning rates, and seed the random numbers of this step (dropout and so on)."""
        # A function of the position alone, so that a resumed run draws the same without a saved generator.
        # Random(str) hashes the text by SHA-512, the same in every process.
        seed = f"{os.environ.get('PL_GLOBAL_SEED', '0')}/{self.global_rank}"
        address = random.Random(f"{seed}/{self.global_step}/{batch_idx}")
        torch.manual_seed(address.getrandbits(63))
        cast(Team, self.team).set_rates(budget(self.trainer))
        self._notes = {}

    def on_train_batch_end(self, outputs: Any, batch: Mixture, batch_idx: int) -> None:
        """Run a validation after the last step, also in the middle of an epoch."""
        if 0 < self.trainer.max_steps <= self.global_step:
            self.trainer.should_stop = True

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check the gradient before clipping; skip the step if it is not finite.

        Raises:
            RasedError: too many steps were skipped.
        """
        player = self._playing
        norm = gradient_norm(player.module)
        if not bool(norm.isfinite()):
            self._skip(player)
        word = self._word(player)
        self._notes.update(
            {f"{word}/grad_norm": norm, f"{word}/lr": cast(Team, self.team).rate(player.name)}
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip like Lightning, but allow fused optimisers, which it rejects even without a gradient scaler."""
        plugin = self.trainer.precision_plugin
        # Calls the method of the base class, which MixedPrecision overrides with the refusal.
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None and gradient_clip_val:
            algorithm = GradClipAlgorithmType(gradient_clip_algorithm or "norm")
            Precision.clip_gradients(plugin, optimizer, gradient_clip_val, algorithm)
        else:
            self.clip_gradients(
                optimizer,
                gradient_clip_val=gradient_clip_val,
                gradient_clip_algorithm=gradient_clip_algorithm,
            )

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Update every player (forward, backward, clipping, optimiser), then the average; all of it is one step."""
        team = cast(Team, self.team)
        self.skipping.begin(one.module for one in team.players if one.module is not self.enhancer)
        if len(team) == 1:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            # `training_step` reads `_turn`. The closure clears the gradients of all players before each backward pass,
            # so what the loss of one player leaves in the others is never used.
            for self._turn in team.players:
                own = team.optimizers[self._turn.name]
                self.trainer.strategy.optimizer_step(own, optimizer_closure, model=self)
            self._turn = None
        self.skipping.end()
        self._notes["train/skipped_steps"] = float(self.skipping.total)
        if self.trainer.world_size > 1 and self._logs():
            self._notes.update(self._over_ranks())
        for name, value in self._notes.items():  # here, since training_step runs once per player
            self.log(name, value, prog_bar=name == "train/loss")
        if not self.skipping.holds(self.enhancer):
            # The ramp of TensorFlow's ExponentialMovingAverage: random initial weights are soon forgotten.
            decay = min(self.ema_decay, (1 + self.global_step) / (10 + self.global_step))
            update_average(self.average, self.enhancer, decay)

    def _logs(self) -> bool:
        """Return whether the loggers receive the numbers of this step."""
        step, every = self.global_step + 1, cast(Any, self.trainer).log_every_n_steps
        return step == self.trainer.max_steps or (every > 0 and step % every == 0)

    def _over_ranks(self) -> dict[str, float]:
        """Return the losses of this step as means over the items of all ranks."""
        own = {name: float(one) for name, one in self._notes.items() if "loss" in name.split("/")}
        found: list[tuple[int, dict[str, float]]] = [(0, {})] * self.trainer.world_size
        torch.distributed.all_gather_object(found, (self._seen_items, own))
        sums: dict[str, float] = {}
        items: dict[str, int] = {}
        for rows, losses in found:  # a rank whose items were all unreadable has no loss
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + rows * value
                items[name] = items.get(name, 0) + rows
        return {name: sums[name] / items[name] for name in sums}

    def _skip(self, player: Player) -> None:
        """Skip this step for a player."""
        first = self.skipping.skip(player.module)
        # The average copied the buffers after the last good step; the forward pass of this one may have spoilt them.
        undo_buffers(self.enhancer, self.average.buffers())
        if first:
            run = str(self.trainer.default_root_dir)
            self.skipping.tell(self.global_step + 1, run, aloud=self.global_rank == 0)

    def _check_team(self) -> None:
        team, trainer = cast(Team, self.team), self.trainer
        if len(team) > 1 and trainer.accumulate_grad_batches > 1:
            _ = self._playing  # raises if gradients are accumulated
        for schedule in team.schedules.values():
            if schedule.monitor is not None and not trainer.enable_validation:
                raise RasedError(
                    f"{type(schedule).__name__} follows {schedule.monitor}, but this run has no validation: choose "
                    "another model.schedule, or set trainer.limit_val_batches above 0."
                )


def _silence(batch: Any) -> Any:
    """Return a batch like another one, with one item of zeros."""
    if isinstance(batch, dict):
        return {name: _silence(value) for name, value in batch.items()}
    return batch.new_zeros((1, *batch.shape[1:])) if isinstance(batch, Tensor) else [""]
