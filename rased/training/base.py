"""Base class of trainings: losses, validation, input statistics and checkpoints; `steps` has the optimisation."""

import copy
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.config import public
from rased.data.mixtures.sample import Mixture, reference
from rased.errors import RasedError
from rased.losses.base import Domain, Loss, OnWaveforms, total
from rased.models.base import Enhancer, Generators, Prediction, generators
from rased.signal.ratios import si_sdr
from rased.training import suitable
from rased.training.divided import divide, unite
from rased.training.means import Means
from rased.training.optimisation import update_average
from rased.training.players import Optimisation, Player
from rased.training.schedules import Cosine, Schedule
from rased.training.steps import Steps

MANIFEST_SHA256 = "manifest_sha256"
"""Key in a checkpoint: SHA-256 of the manifest of the training data."""

SCORES = "scores"
"""Key in best.ckpt: the scores of the validation that chose it; see `rased.training.best`."""
_SKIPPED, _TEAM = "skipped_steps", "players"


class Enhancement(Steps):
    """Trains an enhancer. Subclasses set the domains in which losses may compare, and a default loss.

    Subclasses may override `losses` (what each player minimises), `presented` (inputs and targets of the training),
    `validate` (the scores of a validation batch), `players` (the modules that are optimised) and `default_loss`.

    A checkpoint holds only plain data and tensors: the configuration of the enhancer, its weights,
    and their moving average. Validation and everything after training use the average.

    Attributes:
        domains: where a loss may compare: waveform, spectrum, or output of the network.
        enhancer: the network that is trained.
        average: moving average of its weights, updated once per step for any number of players.
        optimisation: optimiser settings of the enhancer.
        team: players with their optimisers and schedules, set by `configure_optimizers`.
        manifest_sha256: SHA-256 of the manifest of the training data; None without a manifest.
        scores: scores of the validation that chose the checkpoint that is being saved; None if none did.
        skipping: bookkeeping of steps whose gradient was not finite.
        fixed: parts of the enhancer that are not trained; see `rased.training.origin.freeze`.
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
        """Build the training module.

        Args:
            enhancer: the network to train.
            loss: a `Loss`, or any module that is called with two waveforms (estimate, target); None: the default
                loss of the class.
            lr: learning rate after the warm-up.
            weight_decay: for matrices and kernels only (not biases and norms); None: the default of the optimiser,
                0.01 for AdamW.
            warmup_steps: steps in which the learning rate rises from zero; at most a tenth of the budget.
            final_lr: the cosine ends at this share of lr; None: 0.02. The budget is trainer.max_steps or
                trainer.max_epochs, whichever ends first.
            ema_decay: decay per step of the moving average of the weights; smaller in the first steps. 0: no average.
            statistics_batches: number of batches from which global input statistics are computed before the first
                step, if the enhancer needs them.
            optimizer: {"class_path": "torch.optim.Adam", "init_args": {"amsgrad": true}}, or any other optimiser, such
                as `rased.training.adamp.AdamP`; its learning rate is `lr`. None: AdamW.
            schedule: one of `rased.training.schedules`; None: a cosine to `final_lr`.
            lr_factors: {"network.encoder.*": 0.1}: factors on the learning rate, by pattern of parameter names; if
                several patterns match, the last one applies.

        Raises:
            RasedError: the loss does not suit the training or the enhancer, or a number is out of its range.
        """
        super().__init__()
        with warnings.catch_warnings():
            # Lightning advises against modules in hyperparameters; `_write_down` replaces them by their configuration.
            warnings.filterwarnings("ignore", message="Attribute '\\w+' is an instance of")
            # The configuration, if this module was built from one.
            self.save_hyperparameters(logger=False)
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
                "model.final_lr sets the end of the cosine schedule, but model.schedule is given: remove one of them "
                "(rased.training.schedules.Cosine has the argument `final`)."
            )
        # `final_lr` is short for the usual schedule.
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
        # A submodule, so that Lightning moves it to the device and stores it in every checkpoint.
        self.average = copy.deepcopy(enhancer).requires_grad_(False)
        self.means = Means()
        self._united = False
        self.manifest_sha256: str | None = None
        self.scores: dict[str, Any] | None = None
        suitable.check_loss(self.loss, self.enhancer, self.domains, type(self).__name__)

    def default_loss(self) -> Loss:
        """Return the loss to use if none is configured."""
        raise RasedError(f"{type(self).__name__} has no default loss: configure model.loss.")

    def players(self) -> Sequence[Player]:
        """Return the players in the order in which they are updated within a step; by default, the enhancer alone.

        The player whose module is the enhancer logs train/loss; the others log train/NAME/loss.
        """
        return (Player("enhancer", self.enhancer, self.optimisation),)

    def losses(self, batch: Mixture, player: str) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss of a player, as named terms that are summed; the log shows each as train/loss/NAME.

        Args:
            batch: at least one row.
            player: name of the player to update.
        """
        shown = self.presented(batch)
        return self.terms_of(self.trained_prediction(shown), shown)

    def presented(self, batch: Mixture) -> Mixture:
        """Return the inputs and targets of the training, also for input statistics; by default the batch itself."""
        return batch

    def trained_prediction(self, batch: Mixture) -> Prediction:
        """Run the enhancer that is trained on a batch."""
        return self.predicted(self.enhancer, batch, self.drawn(batch))

    def drawn(self, batch: Mixture) -> Generators:
        """Return a generator per row for a model that samples, from (seed, rank, step); None for any other model."""
        if not self.enhancer.samples:
            return None
        # The global generator was seeded for this step in `on_train_batch_start`.
        seeds = torch.randint(2**62, (self.rows(batch),)).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def predicted(self, enhancer: Enhancer, batch: Mixture, generator: Generators) -> Prediction:
        """Run an enhancer on a batch; pass the condition and the generators to models that declare them."""
        noisy, condition = batch["noisy"], batch.get("condition")
        options = enhancer.options(len(noisy), condition=condition, generator=generator)
        return enhancer.predict(noisy, **options)

    def terms_of(self, prediction: Prediction, batch: Mixture) -> dict[str, Float[Tensor, ""]]:
        """Compute the terms of `loss` for a prediction, in the domains of each term, always in float32."""
        noisy, target = batch["noisy"].float(), batch["target"].float()
        # Sums over thousands of bins and logarithms of small powers are too coarse in half precision.
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
        """Return the sum of `terms_of`."""
        return total(self.terms_of(prediction, batch))

    def validate(self, batch: Mixture) -> dict[str, Tensor]:
        """Score a batch with the averaged weights; return one number per batch or one per row, by name.

        By default: the loss and its terms, SI-SDR and its improvement over the noisy input. The log shows the
        means over all items as valid/NAME. Override this if `predict` is expensive, such as in a model that samples.
        """
        # Seeded by the key of each item, so that every validation of a model that samples draws the same.
        drawn = generators(batch["key"]) if self.average.samples else None
        prediction = self.predicted(self.average, batch, drawn)
        noisy, target = batch["noisy"].float(), batch["target"].float()
        ratio = si_sdr(estimate=prediction.estimate.float(), target=target)
        terms = self.terms_of(prediction, batch)
        named = {f"loss/{name}": value for name, value in terms.items()} if len(terms) > 1 else {}
        improvement = ratio - si_sdr(estimate=reference(noisy), target=target)
        scores = {"loss": total(terms), "si_sdr": ratio, "si_sdr_improvement": improvement}
        return {**scores, **named}

    def on_validation_epoch_start(self) -> None:
        """Give every rank the whole average: one without readable items does not run it."""
        self._united = unite(self.average)

    def validation_step(self, batch: Mixture, batch_idx: int) -> None:
        """Add the scores of `validate` to the means."""
        rows = self.rows(batch)
        if rows:
            self.means.update(self.validate(batch), rows)

    def on_validation_epoch_end(self) -> None:
        """Log the means over all items and ranks, and pass them to the schedules."""
        if self._united:
            divide(self.average)
        scores = self.validation_scores()
        for name, value in scores.items():
            self.log(name, value, prog_bar=name == "valid/si_sdr_improvement")
        fitting = self.trainer.state.fn == "fit" and not self.trainer.sanity_checking
        if fitting and self.team is not None:
            self.team.observe(scores)

    def validation_scores(self) -> dict[str, float]:
        """Return the means over all validated items of all ranks, and reset them."""
        means = self.means.compute(world_size=self.trainer.world_size, device=self.device)
        return {f"valid/{name}": value for name, value in means.items()}

    def on_fit_start(self) -> None:
        """Check that the run can be trained and saved; compute the input statistics unless the checkpoint has them.

        Raises:
            RasedError: the data have another sample rate, or the configuration cannot be stored in a checkpoint.
        """
        suitable.check_rate(self.enhancer, cast(Any, self.trainer).datamodule)
        suitable.check_channels(self.enhancer, cast(Any, self.trainer).datamodule)
        suitable.check_conditions(self.enhancer, cast(Any, self.trainer).datamodule)
        if self._unwritten is not None:
            raise self._unwritten
        suitable.check_plain(dict(self.hparams), type(self).__name__)
        self._check_team()
        if not self.enhancer.needs_statistics:
            return
        self.fit_statistics()
        # Every rank has heard other mixtures; all use the statistics of the first one.
        for buffer in self.enhancer.buffers():
            buffer.copy_(self.trainer.strategy.broadcast(buffer))
        # Without decay: a copy.
        update_average(self.average, self.enhancer, 0.0)

    def fit_statistics(self) -> None:
        """Compute the input statistics from the first mixtures of the training stream."""
        self.enhancer.fit_statistics(self._statistics())

    def seconds(self, batch: Mixture) -> float:
        """Return the length of the audio in a batch."""
        return batch["target"].numel() / self.enhancer.sample_rate

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the manifest and the skipped steps; check that the checkpoint can be read with `weights_only=True`.

        Raises:
            RasedError: the module was built in Python, from parts whose arguments cannot be stored.
        """
        suitable.check_plain(checkpoint.get("hyper_parameters"), type(self).__name__)
        # Checkpoints are passed on: no passwords or tokens of URLs in them.
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
        """Restore the count of skipped steps; keep the state of the schedules for `configure_optimizers`."""
        self.skipping.total, self.skipping.in_row = checkpoint.get(_SKIPPED, (0, 0))
        self._saved_team = checkpoint.get(_TEAM)

    def _statistics(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the first mixtures of the training stream as (noisy, target)."""
        loader = cast(Any, self.trainer).datamodule.train_dataloader()
        for batch in itertools.islice(iter(loader), self.statistics_batches):
            mixture = self.trainer.strategy.batch_to_device(batch)
            if len(mixture["noisy"]):
                mixture = self.presented(mixture)
                yield mixture["noisy"], mixture["target"]

    def _write_down(self) -> None:
        """Derive the configuration of a module that was built in Python, for the checkpoint."""
        try:
            given = suitable.written(dict(self.hparams))
        except RasedError as error:
            # Raised later, when training starts: using the module without saving is fine.
            self._unwritten = error
            return
        # The form in which LightningCLI stores a configuration, which `load_module` reads.
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        self.save_hyperparameters({"_class_path": path, **given}, logger=False)
