"""How a batch becomes a loss: optimiser, schedule, average weights, logging and validation metrics."""

import copy
import itertools
import os
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.utilities import GradClipAlgorithmType
from torch import Tensor, nn

from rased.config import public
from rased.data.mixtures.sample import Mixture, reference
from rased.errors import RasedError
from rased.losses.base import Domain, Loss, OnWaveforms, total
from rased.models.base import Enhancer, Generators, Prediction, generators
from rased.signal.ratios import si_sdr
from rased.training import suitable
from rased.training.means import Means
from rased.training.optimisation import budget, undo_buffers, update_average
from rased.training.players import Optimisation, Player, Team
from rased.training.schedules import Cosine, Schedule
from rased.training.skipping import Skipping, gradient_norm

MANIFEST_SHA256 = "manifest_sha256"
"""In a checkpoint: the manifest of the data that it was trained on."""

SCORES = "scores"
"""In best.ckpt: what the validation that chose it gave; see `rased.training.best`."""
_SKIPPED, _TEAM = "skipped_steps", "players"


class Enhancement(pl.LightningModule):
    """Trains an enhancer; subclasses name the domains of loss that suit them, and their own loss.

    What a story may replace: `losses` (what each player minimises), `validate` (what a validation gives),
    `players` (who learns, and how), `default_loss`.

    The checkpoint holds plain data and tensors only: the configuration of the enhancer, its weights
    and their moving average, which validation and everything after training use.

    Attributes:
        domains: where a loss may compare: at the waveform, the spectrum or the network's output.
        enhancer: the network in training.
        average: its moving average; it moves once a step, whatever the number of players.
        optimisation: how the enhancer learns.
        team: the players at work, from `configure_optimizers` on.
        manifest_sha256: of the manifest of the data, which checkpoints name; None where there is none.
        scores: of the validation that chose the checkpoint that is being written; None: none did.
        skipping: steps whose gradient was not finite.
        fixed: parts of the enhancer that are kept as they are; see `rased.training.origin.freeze`.
    """

    domains: ClassVar[tuple[Domain, ...]] = ("waveform", "spectrum", "output")

    def __init__(
        self,
        enhancer: Enhancer,
        loss: nn.Module | None = None,
        lr: float = 1e-3,
        weight_decay: float | None = None,
        warmup_steps: int = 100,
        final_lr: float | None = None,
        ema_decay: float = 0.999,
        statistics_batches: int = 32,
        optimizer: Mapping[str, Any] | None = None,
        schedule: Schedule | None = None,
        lr_factors: Mapping[str, float] | None = None,
    ) -> None:
        """Take the parts.

        Args:
            enhancer: what is trained.
            loss: what is minimised: a `Loss`, or any module that is called with (estimate, target), two waveforms;
                None: the story's own.
            lr: learning rate after the warm-up.
            weight_decay: on matrices and kernels only (no bias, no norm); None: what the optimiser takes by itself,
                0.01 of AdamW.
            warmup_steps: steps in which the learning rate rises from zero; a tenth of the budget at most.
            final_lr: share of lr that is left at the end of the budget, to which a cosine leads; None: 0.02. The
                budget is whichever of trainer.max_steps and trainer.max_epochs runs out first.
            ema_decay: decay a step of the average of the weights; less in the first steps. 0: none.
            statistics_batches: batches from which an enhancer that normalises by global statistics
                takes them, before the first step.
            optimizer: {"class_path": "torch.optim.Adam", "init_args": {"amsgrad": true}}, or any other optimiser, such
                as `rased.training.adamp.AdamP`; its learning rate is `lr`. None: AdamW.
            schedule: one of `rased.training.schedules`; None: a cosine to `final_lr`.
            lr_factors: {"network.encoder.*": 0.1}: factors on the learning rate of parameters, by pattern of their
                names; where several match, the last one counts.

        Raises:
            RasedError: the loss does not suit the story or the enhancer, or a number is out of its range.
        """
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute '\\w+' is an instance of")
            self.save_hyperparameters(logger=False)  # configuration where built from it
        self._unwritten: RasedError | None = None
        if not suitable.is_plain(dict(self.hparams)):
            self._write_down()
        suitable.check_numbers(
            "model",
            final_lr=(final_lr, 0, 1),
            ema_decay=(ema_decay, 0, 1),
            statistics_batches=(statistics_batches, 1, None),
        )
        if final_lr is not None and schedule is not None:
            raise RasedError(
                "model.final_lr is the end of the cosine, and model.schedule is another schedule: leave one out "
                "(rased.training.schedules.Cosine takes final)."
            )
        if schedule is None:
            schedule = Cosine() if final_lr is None else Cosine(final_lr)
        self.optimisation = Optimisation(
            lr, weight_decay, optimizer, schedule, warmup_steps, lr_factors or {}
        )
        self.enhancer = enhancer
        if loss is None:
            self.loss = self.default_loss()
        else:
            self.loss = loss if isinstance(loss, Loss) else OnWaveforms(loss)
        self.ema_decay, self.statistics_batches = ema_decay, statistics_batches
        self.average = copy.deepcopy(enhancer).requires_grad_(False)
        self.means = Means()
        self.manifest_sha256: str | None = None
        self.scores: dict[str, Any] | None = None
        self.skipping = Skipping()
        self.team: Team | None = None
        self._turn: Player | None = None
        self._notes: dict[str, Tensor | float] = {}
        self._saved_team: dict[str, Any] | None = None
        self.fixed: list[nn.Module] = []
        suitable.check_loss(self.loss, self.enhancer, self.domains, type(self).__name__)

    def default_loss(self) -> Loss:
        """The loss of this story where none is configured."""
        raise RasedError(f"{type(self).__name__} has no loss of its own: configure model.loss.")

    def players(self) -> Sequence[Player]:
        """Who learns, in the order of their turns in a step: the enhancer alone, where a story does not say otherwise.

        The player whose module is the enhancer logs train/loss; the others log train/NAME/loss.
        """
        return (Player("enhancer", self.enhancer, self.optimisation),)

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """What a player minimises, as named terms that add up to its loss; the log shows them as train/loss/NAME.

        Args:
            batch: at least one row of it.
            player: name of the player whose turn it is.
        """
        drawn = None
        if self.enhancer.samples:  # other numbers in each step, by the address of its draws
            seeds = torch.randint(2**62, (self.rows(batch),)).tolist()
            drawn = [torch.Generator().manual_seed(seed) for seed in seeds]
        return self.terms_of(self.predicted(self.enhancer, batch, drawn), batch)

    def predicted(
        self, enhancer: Enhancer, batch: Mixture, generator: Generators | None
    ) -> Prediction:
        """What an enhancer says of a batch: its condition and generators reach the models that declare them."""
        noisy, condition = batch["noisy"], batch.get("condition")
        options = enhancer.options(len(noisy), condition=condition, generator=generator)
        return enhancer.predict(noisy, **options)

    def terms_of(self, prediction: Prediction, batch: Mixture) -> dict[str, Float[Tensor, ""]]:
        """The terms of `loss` for a prediction, compared in the domains of each; always in float32."""
        noisy, target = batch["noisy"].float(), batch["target"].float()
        with torch.autocast(target.device.type, enabled=False):
            pairs = {
                domain: (
                    prediction.of(domain),
                    self.enhancer.ideal(domain, noisy=noisy, target=target),
                )
                for domain in self.loss.domains
            }
            return self.loss.terms(pairs)

    def loss_of(self, prediction: Prediction, batch: Mixture) -> Float[Tensor, ""]:
        """The sum of `terms_of`."""
        return total(self.terms_of(prediction, batch))

    def rows(self, batch: Mixture) -> int:
        """Items of a batch; 0 where none of them could be read."""
        return len(batch["noisy"])

    def training_step(self, batch: Mixture, batch_idx: int) -> Float[Tensor, ""]:
        """One forward pass for the player whose turn it is.

        A batch without a row gives zero, with a gradient of zero for every parameter: the other ranks wait for it.
        """
        rows, player = self.rows(batch), self._playing
        if not rows:
            return self._nothing()
        terms = self.losses(batch, player.name)
        suitable.check_terms(terms, player.name)
        loss, word = total(terms), self._word(player)
        self._notes[f"{word}/loss"] = loss.detach()
        if len(terms) > 1:
            self._notes.update({f"{word}/loss/{name}": one.detach() for name, one in terms.items()})
        waited_for = len(cast(Team, self.team)) > 1 and torch.distributed.is_initialized()
        return loss + self._nothing() if waited_for else loss

    def _nothing(self) -> Float[Tensor, ""]:
        """Zero, which depends on every parameter that is trained."""
        return torch.stack(
            [item.flatten()[:0].sum() for item in self.parameters() if item.requires_grad]
        ).sum()

    def _word(self, player: Player) -> str:
        alone = len(cast(Team, self.team)) == 1
        return "train" if alone or player.module is self.enhancer else f"train/{player.name}"

    @property
    def _playing(self) -> Player:
        """Whose turn it is.

        Raises:
            RasedError: gradients of several players cannot be accumulated.
        """
        team = cast(Team, self.team)
        player = team.players[0] if len(team) == 1 else self._turn
        if player is None:
            raise RasedError(
                f"trainer.accumulate_grad_batches is {self.trainer.accumulate_grad_batches}, and "
                f"{type(self).__name__} trains {len(team)} players in turn: leave it out, and raise data.batch_size."
            )
        return player

    def validate(self, batch: Mixture) -> dict[str, Tensor]:
        """Score a batch by the average weights: one number for all of it, or one a row, by name.

        Here: the loss and its terms, SI-SDR and its improvement over the noisy input. The log shows the means over
        all items as valid/NAME. A story whose `predict` is dear (a sampler, say) replaces this.
        """
        drawn = generators(batch["key"]) if self.average.samples else None
        prediction = self.predicted(self.average, batch, drawn)
        noisy, target = batch["noisy"].float(), batch["target"].float()
        ratio = si_sdr(estimate=prediction.estimate.float(), target=target)
        terms = self.terms_of(prediction, batch)
        named = {f"loss/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
        improvement = ratio - si_sdr(estimate=reference(noisy), target=target)
        scores = {"loss": total(terms), "si_sdr": ratio, "si_sdr_improvement": improvement}
        return {**scores, **named}

    def validation_step(self, batch: Mixture, batch_idx: int) -> None:
        """Add what `validate` gives to the means."""
        rows = self.rows(batch)
        if rows:
            self.means.update(self.validate(batch), rows)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all items and ranks, and show them to the schedules."""
        scores = self.validation_scores()
        for name, value in scores.items():
            self.log(name, value, prog_bar=name == "valid/si_sdr_improvement")
        fitting = self.trainer.state.fn == "fit" and not self.trainer.sanity_checking
        if fitting and self.team is not None:
            self.team.observe(scores)

    def validation_scores(self) -> dict[str, float]:
        """The means over all that `validation_step` has seen, of all ranks, which are forgotten then."""
        means = self.means.compute(world_size=self.trainer.world_size, device=self.device)
        return {f"valid/{name}": value for name, value in means.items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimisers of all players, as one; learning rates are set by `on_train_batch_start`.

        Raises:
            RasedError: a player cannot learn so, or the checkpoint to go on from had other players or optimisers.
        """
        self.team = Team(self.players())
        optimizer = self.team.build()
        if self._saved_team is not None:
            self.team.load_state_dict(self._saved_team)
            self._saved_team = None
        return optimizer

    def on_fit_start(self) -> None:
        """Refuse what cannot be trained or saved; let the enhancer take its statistics, unless its checkpoint has them.

        Raises:
            RasedError: the data have another sample rate, or no checkpoint could hold the configuration.
        """
        suitable.check_rate(self.enhancer, cast(Any, self.trainer).datamodule)
        suitable.check_channels(self.enhancer, cast(Any, self.trainer).datamodule)
        if self._unwritten is not None:
            raise self._unwritten
        suitable.check_plain(dict(self.hparams), type(self).__name__)
        self._check_team()
        if not self.enhancer.needs_statistics:
            return
        self.fit_statistics()
        for buffer in self.enhancer.buffers():
            buffer.copy_(self.trainer.strategy.broadcast(buffer))
        update_average(self.average, self.enhancer, 0.0)

    def fit_statistics(self) -> None:
        """Take them from the first mixtures of the training stream."""
        self.enhancer.fit_statistics(self._statistics())

    def seconds(self, batch: Mixture) -> float:
        """Length of the audio in a batch."""
        return batch["target"].numel() / self.enhancer.sample_rate

    def on_train_start(self) -> None:
        """Keep the running statistics of parts that are fixed; let the configuration of this launch count."""
        for part in self.fixed:
            part.eval()
        cast(Team, self.team).restore_options()

    def on_train_batch_start(self, batch: Mixture, batch_idx: int) -> None:
        """Set the learning rates, and give every draw of this step (dropout, say) its address."""
        seed = f"{os.environ.get('PL_GLOBAL_SEED', '0')}/{self.global_rank}"
        address = random.Random(f"{seed}/{self.global_step}/{batch_idx}")
        torch.manual_seed(address.getrandbits(63))
        cast(Team, self.team).set_rates(budget(self.trainer))
        self._notes = {}

    def on_train_batch_end(self, outputs: Any, batch: Mixture, batch_idx: int) -> None:
        """Let the last step be followed by a validation, wherever in the epoch it is."""
        if 0 < self.trainer.max_steps <= self.global_step:
            self.trainer.should_stop = True

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Look at the gradient before it is clipped and used; one that is not finite moves nothing.

        Raises:
            RasedError: too many steps had such a gradient.
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
        """Clip as Lightning does, and fused optimisers too, which it refuses even where nothing is to unscale."""
        plugin = self.trainer.precision_plugin
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
        """Give every player its turn (forward, backward, clipping, step), then average: all of that is one step."""
        team = cast(Team, self.team)
        self.skipping.begin(one.module for one in team.players if one.module is not self.enhancer)
        if len(team) == 1:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        else:
            for self._turn in team.players:
                own = team.optimizers[self._turn.name]
                self.trainer.strategy.optimizer_step(own, optimizer_closure, model=self)
            self._turn = None
        self.skipping.end()
        self._notes["train/skipped_steps"] = float(self.skipping.total)
        for name, value in self._notes.items():  # Lightning keeps what one hook logs, once a batch
            self.log(name, value, prog_bar=name == "train/loss")
        if not self.skipping.holds(self.enhancer):
            decay = min(self.ema_decay, (1 + self.global_step) / (10 + self.global_step))
            update_average(self.average, self.enhancer, decay)

    def _skip(self, player: Player) -> None:
        """Leave out the step of a player."""
        first = self.skipping.skip(player.module)
        undo_buffers(self.enhancer, self.average.buffers())
        if first:
            run = str(self.trainer.default_root_dir)
            self.skipping.tell(self.global_step + 1, run, aloud=self.global_rank == 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the data and what was skipped, and refuse to write what `weights_only=True` could not read back.

        Raises:
            RasedError: the module was made by hand, of parts that cannot be written down.
        """
        suitable.check_plain(checkpoint.get("hyper_parameters"), type(self).__name__)
        for part in ("hyper_parameters", "datamodule_hyper_parameters"):
            if part in checkpoint:
                checkpoint[part] = public(checkpoint[part])
        if self.manifest_sha256 is not None:
            checkpoint[MANIFEST_SHA256] = self.manifest_sha256
        if self.scores is not None:
            checkpoint[SCORES] = self.scores
        checkpoint[_SKIPPED] = [self.skipping.total, self.skipping.in_row]
        if self.team is not None:
            checkpoint[_TEAM] = self.team.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting, and keep what the schedules remember for `configure_optimizers`."""
        self.skipping.total, self.skipping.in_row = checkpoint.get(_SKIPPED, (0, 0))
        self._saved_team = checkpoint.get(_TEAM)

    def _statistics(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The first mixtures of the training stream, as (noisy, target)."""
        loader = cast(Any, self.trainer).datamodule.train_dataloader()
        for batch in itertools.islice(iter(loader), self.statistics_batches):
            mixture = self.trainer.strategy.batch_to_device(batch)
            if len(mixture["noisy"]):
                yield mixture["noisy"], mixture["target"]

    def _write_down(self) -> None:
        """Find the configuration of a module that was made by hand, as a checkpoint holds it."""
        try:
            given = suitable.written(dict(self.hparams))
        except RasedError as error:
            self._unwritten = error  # it is refused where it is to be trained
            return
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        self.save_hyperparameters({"_class_path": path, **given}, logger=False)

    def _check_team(self) -> None:
        team, trainer = cast(Team, self.team), self.trainer
        if len(team) > 1 and trainer.accumulate_grad_batches > 1:
            _ = self._playing  # says why not
        for schedule in team.schedules.values():
            if schedule.monitor is not None and not trainer.enable_validation:
                raise RasedError(
                    f"{type(schedule).__name__} follows {schedule.monitor}, and nothing is validated here: choose "
                    "another model.schedule, or let trainer.limit_val_batches be more than 0."
                )
