"""How a batch becomes a loss: optimiser, schedule, average weights, logging and validation metrics."""

import copy
import itertools
import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import MeanMetric

from rased.config import public
from rased.construction import spec_of
from rased.data.sample import Mixture
from rased.errors import RasedError
from rased.losses.base import Domain, Loss, OnWaveforms
from rased.models.base import Enhancer, Prediction
from rased.signal.ratios import si_sdr
from rased.training.optimisation import budget, lr_factor, undo_buffers, update_average

MANIFEST_SHA256 = "manifest_sha256"
"""In a checkpoint: the manifest of the data that it was trained on."""

SCORES = "scores"
"""In best.ckpt: what the validation that chose it gave; see `rased.training.best`."""
MOST_SKIPPED = 20
"""Steps in a row whose gradient may be not finite; and this many in all, up to a share of all steps."""
MOST_SKIPPED_SHARE = 0.05
_SKIPPED = "skipped_steps"
_TOLD = 5
"""Skipped steps that are told on stderr; all are counted."""


class Enhancement(pl.LightningModule):
    """Trains an enhancer; subclasses name the domains of loss that suit them, and their own loss.

    The checkpoint holds plain data and tensors only: the configuration of the enhancer, its weights
    and their moving average, which validation and everything after training use.

    Attributes:
        domains: where a loss may compare: at the waveform, the spectrum or the network's output.
        enhancer: the network in training.
        average: its moving average.
        manifest_sha256: of the manifest of the data, which checkpoints name; None where there is none.
        scores: of the validation that chose the checkpoint that is being written; None: none did.
        skipped_steps: steps whose gradient was not finite; `skipped_in_row`: up to the last step.
        fixed: parts of the enhancer that are kept as they are; see `rased.training.origin.freeze`.
    """

    domains: ClassVar[tuple[Domain, ...]] = ("waveform", "spectrum", "output")

    def __init__(
        self,
        enhancer: Enhancer,
        loss: nn.Module | None = None,
        lr: float = 1e-3,
        weight_decay: float = 1e-2,
        warmup_steps: int = 100,
        final_lr: float = 0.02,
        ema_decay: float = 0.999,
        statistics_batches: int = 32,
    ) -> None:
        """Take the parts.

        Args:
            enhancer: what is trained.
            loss: what is minimised: a `Loss`, or any module that is called with (estimate, target), two waveforms;
                None: the story's own.
            lr: learning rate of AdamW after the warm-up.
            weight_decay: of AdamW, on matrices and kernels only (no bias, no norm).
            warmup_steps: steps in which the learning rate rises from zero; a tenth of the budget at most.
            final_lr: share of lr that is left at the end of the budget (a cosine leads there); the
                budget is whichever of trainer.max_steps and trainer.max_epochs runs out first.
            ema_decay: decay a step of the average of the weights; less in the first steps. 0: none.
            statistics_batches: batches from which an enhancer that normalises by global statistics
                takes them, before the first step.

        Raises:
            RasedError: the loss does not suit the story or the enhancer.
        """
        super().__init__()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Attribute '\\w+' is an instance of")
            self.save_hyperparameters(logger=False)  # configuration where built from it
        self._unwritten: RasedError | None = None
        if not _is_plain(dict(self.hparams)):
            self._write_down()
        _check_numbers(
            lr=(lr, 0, None),
            weight_decay=(weight_decay, 0, None),
            warmup_steps=(warmup_steps, 0, None),
            final_lr=(final_lr, 0, 1),
            ema_decay=(ema_decay, 0, 1),
            statistics_batches=(statistics_batches, 1, None),
        )
        self.enhancer = enhancer
        if loss is None:
            self.loss = self.default_loss()
        else:
            self.loss = loss if isinstance(loss, Loss) else OnWaveforms(loss)
        self.lr, self.weight_decay = lr, weight_decay
        self.warmup_steps, self.final_lr = warmup_steps, final_lr
        self.ema_decay, self.statistics_batches = ema_decay, statistics_batches
        self.average = copy.deepcopy(enhancer).requires_grad_(False)
        self.valid_loss, self.valid_si_sdr = (
            MeanMetric(nan_strategy="disable"),
            MeanMetric(nan_strategy="disable"),
        )
        self.valid_improvement = MeanMetric(nan_strategy="disable")
        self.manifest_sha256: str | None = None
        self.scores: dict[str, Any] | None = None
        self.skipping, self.skipped_steps, self.skipped_in_row = False, 0, 0
        self.fixed: list[nn.Module] = []
        self._check_loss()

    def default_loss(self) -> Loss:
        """The loss of this story where none is configured."""
        raise RasedError(f"{type(self).__name__} has no loss of its own: configure model.loss.")

    def loss_of(self, prediction: Prediction, batch: Mixture) -> Float[Tensor, ""]:
        """Compare in the domain of the loss; always in float32."""
        target = batch["target"].float()
        with torch.autocast(target.device.type, enabled=False):
            domain, noisy = self.loss.domain, batch["noisy"].float()
            ideal = self.enhancer.ideal(domain, noisy=noisy, target=target)
            return self.loss(estimate=prediction.of(domain), target=ideal)

    def training_step(self, batch: Mixture, batch_idx: int) -> Float[Tensor, ""]:
        """One forward pass; a batch without a row gives zero, with a gradient of zero for every parameter."""
        if not len(batch["noisy"]):  # the other ranks wait for these gradients
            return torch.stack(
                [item.flatten()[:0].sum() for item in self.parameters() if item.requires_grad]
            ).sum()
        loss = self.loss_of(self.enhancer.predict(batch["noisy"]), batch)
        self.log("train/loss", loss, batch_size=batch["noisy"].shape[0], prog_bar=True)
        return loss

    def validation_step(self, batch: Mixture, batch_idx: int) -> None:
        """Loss, SI-SDR and its improvement over the noisy input, by the average weights."""
        if not len(batch["noisy"]):
            return
        prediction = self.average.predict(batch["noisy"])
        noisy, target = batch["noisy"].float(), batch["target"].float()
        ratio = si_sdr(estimate=prediction.estimate.float(), target=target)
        self.valid_loss.update(self.loss_of(prediction, batch), weight=noisy.shape[0])
        self.valid_si_sdr.update(ratio)
        self.valid_improvement.update(ratio - si_sdr(estimate=noisy, target=target))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all items and ranks."""
        for name, metric in self._validation_metrics().items():
            self.log(name, metric, prog_bar=name == "valid/si_sdr_improvement")

    def validation_scores(self) -> dict[str, float]:
        """The means over all that `validation_step` has seen, of all ranks, which are forgotten then."""
        scores = {}
        for name, metric in self._validation_metrics().items():
            scores[name] = float(metric.compute())
            metric.reset()
        return scores

    def _validation_metrics(self) -> dict[str, MeanMetric]:
        return {
            "valid/loss": self.valid_loss,
            "valid/si_sdr": self.valid_si_sdr,
            "valid/si_sdr_improvement": self.valid_improvement,
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW with two groups; the schedule is applied by `on_train_batch_start`."""
        parameters = [item for item in self.enhancer.parameters() if item.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [item for item in parameters if item.ndim > 1]},
            {"params": [item for item in parameters if item.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.lr,
            weight_decay=self.weight_decay,
        )

    def on_fit_start(self) -> None:
        """Refuse what cannot be trained or saved; let the enhancer take its statistics, unless its checkpoint has them.

        Raises:
            RasedError: the data have another sample rate, or no checkpoint could hold the configuration.
        """
        self._check_rate(cast(Any, self.trainer).datamodule)
        if self._unwritten is not None:
            raise self._unwritten
        self._check_plain(dict(self.hparams))
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
        return batch["noisy"].numel() / self.enhancer.sample_rate

    def on_train_start(self) -> None:
        """Keep the running statistics of parts that are fixed."""
        for part in self.fixed:
            part.eval()

    def on_train_batch_start(self, batch: Mixture, batch_idx: int) -> None:
        """Set the learning rate, and give every draw of this step (dropout, say) its address."""
        seed = f"{os.environ.get('PL_GLOBAL_SEED', '0')}/{self.global_rank}"
        address = random.Random(f"{seed}/{self.global_step}/{batch_idx}")
        torch.manual_seed(address.getrandbits(63))
        factor = lr_factor(
            budget(self.trainer), warmup_steps=self.warmup_steps, final=self.final_lr
        )
        optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
        for group in optimizer.param_groups:
            group["lr"] = self.lr * factor

    def on_train_batch_end(self, outputs: Any, batch: Mixture, batch_idx: int) -> None:
        """Let the last step be followed by a validation, wherever in the epoch it is."""
        if 0 < self.trainer.max_steps <= self.global_step:
            self.trainer.should_stop = True

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Look at the gradient before it is clipped and used; one that is not finite moves nothing.

        Raises:
            RasedError: too many steps had such a gradient.
        """
        gradients = [item.grad for item in self.enhancer.parameters() if item.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        self.skipping = not bool(norm.isfinite())
        if self.skipping:
            self._skip()
        else:
            self.skipped_in_row = 0
        self.log("train/grad_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])
        self.log("train/skipped_steps", float(self.skipped_steps))

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        """Step, then average."""
        super().optimizer_step(*arguments, **options)
        if self.skipping:
            return
        steps = self.global_step
        update_average(self.average, self.enhancer, min(self.ema_decay, (1 + steps) / (10 + steps)))

    def _skip(self) -> None:
        """Leave out a step: without gradients the optimiser does nothing."""
        for item in self.enhancer.parameters():
            item.grad = None
        undo_buffers(self.enhancer, self.average)
        self.skipped_steps += 1
        self.skipped_in_row += 1
        step = self.global_step + 1
        hear = f"`rased replay {self.trainer.default_root_dir} --step {step}` writes its batch"
        if self.skipped_steps <= _TOLD and self.global_rank == 0:
            print(f"step {step} is skipped: its gradient is not finite; {hear}.", file=sys.stderr)
        if self.skipped_in_row > MOST_SKIPPED or (
            self.skipped_steps > MOST_SKIPPED and self.skipped_steps > MOST_SKIPPED_SHARE * step
        ):
            raise RasedError(
                f"the gradient is not finite in step {step}, nor in {self.skipped_steps - 1} steps before it "
                f"({self.skipped_in_row - 1} of them just before): lower model.lr, or train with trainer.precision "
                f"32-true, from the last checkpoint, whose weights are finite; {hear}."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name the data and what was skipped, and refuse to write what `weights_only=True` could not read back.

        Raises:
            RasedError: the module was made by hand, of parts that cannot be written down.
        """
        self._check_plain(checkpoint.get("hyper_parameters"))
        for part in ("hyper_parameters", "datamodule_hyper_parameters"):
            if part in checkpoint:
                checkpoint[part] = public(checkpoint[part])
        if self.manifest_sha256 is not None:
            checkpoint[MANIFEST_SHA256] = self.manifest_sha256
        if self.scores is not None:
            checkpoint[SCORES] = self.scores
        checkpoint[_SKIPPED] = [self.skipped_steps, self.skipped_in_row]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped_steps, self.skipped_in_row = checkpoint.get(_SKIPPED, (0, 0))

    def _statistics(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The first mixtures of the training stream, as (noisy, target)."""
        loader = cast(Any, self.trainer).datamodule.train_dataloader()
        for batch in itertools.islice(iter(loader), self.statistics_batches):
            mixture = self.trainer.strategy.batch_to_device(batch)
            if len(mixture["noisy"]):
                yield mixture["noisy"], mixture["target"]

    def _write_down(self) -> None:
        """Find the configuration of a module that was made by hand, as a checkpoint holds it."""
        given = dict(self.hparams)
        try:
            for name, value in given.items():
                given[name] = spec_of(value) if isinstance(value, nn.Module) else value
        except RasedError as error:
            self._unwritten = error  # it is refused where it is to be trained
            return
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        self.save_hyperparameters({"_class_path": path, **given}, logger=False)

    def _check_plain(self, configuration: Any) -> None:
        if not _is_plain(configuration):
            raise RasedError(
                f"the configuration of this {type(self).__name__} cannot be saved: make it by "
                "rased.training.checkpoint.build_module({'class_path': ..., 'init_args': {...}})."
            )

    def _check_rate(self, data: Any) -> None:
        from rased.data.datamodule import MixtureDataModule

        rate = self.enhancer.sample_rate
        if isinstance(data, MixtureDataModule) and data.mixing.sample_rate != rate:
            theirs = data.mixing.sample_rate
            raise RasedError(
                f"the enhancer works at {rate} Hz and the data have {theirs} Hz: set model.enhancer.sample_rate to "
                f"{theirs} where the model allows it, or pack the data with --sample-rate {rate} and set "
                f"data.mixing.sample_rate to {rate}."
            )

    def _check_loss(self) -> None:
        domain, name = self.loss.domain, type(self.loss).__name__
        if domain not in self.domains:
            raise RasedError(
                f"the loss {name} compares the {domain}, and {type(self).__name__} trains on the "
                f"{' or '.join(self.domains)}: choose another loss or another module."
            )
        if domain not in self.enhancer.domains:
            raise RasedError(
                f"the loss {name} compares the {domain}, which {type(self.enhancer).__name__} does "
                "not have: choose a loss on the waveform (rased.losses.spectral.OnSTFT wraps "
                "spectral ones)."
            )


def _check_numbers(**given: tuple[Any, Any, Any]) -> None:
    """Check (value, least, most) of settings by name.

    Raises:
        RasedError: one is out of its range.
    """
    for name, (value, least, most) in given.items():
        if not (least <= value < float("inf") and (most is None or value <= most)):
            allowed = f"{least} or more" if most is None else f"a number from {least} to {most}"
            raise RasedError(f"model.{name} is {value}; give {allowed}.")


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
