"""Train with weights, gradients, optimiser states and moving average divided among the ranks (FSDP).

A weight is a tensor of which each rank holds a part. The parts are put together for each forward and backward pass, so
models see whole weights. Checkpoints contain whole tensors: they are those of any other training.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.overrides.distributed import _sync_module_states
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed import device_mesh, fsdp

from rased.errors import RasedError
from rased.layers.prediction import Prediction
from rased.training.divided import part, whole
from rased.training.steps import Steps

_RUN = ("predict", "predictions", "predict_windows")
"""Methods of an enhancer that use its weights: parts are put together for these, besides `forward`."""

# PyTorch puts parts together for the backward pass when the gradient of an output arrives, so it must find the outputs.
torch.export.register_dataclass(Prediction)


class FullySharded(DDPStrategy):
    """Starts and connects processes like Lightning's DDPStrategy, but divides the weights instead of copying them.

    The moving average is divided like the enhancer, so each rank updates its own part.
    """

    def _setup_model(self, model: nn.Module) -> Any:
        assert isinstance(model, Steps)
        refuse(model, str(self.precision_plugin.precision))
        _sync_module_states(model)
        mesh = device_mesh.init_device_mesh(self.root_device.type, (self.world_size,))
        for one in (model.enhancer, model.average):
            # A validation unites the average, because ranks may have different numbers of batches.
            fsdp.fully_shard(one, mesh=mesh, reshard_after_forward=one is model.enhancer)
            for name in _RUN:
                if name in dir(one):
                    fsdp.register_fsdp_forward_method(one, name)
        return model

    def training_step(self, *arguments: Any, **named: Any) -> Any:
        """Run the step of the training.

        Raises:
            RasedError: it uses weights that are not put together.
        """
        try:
            return super().training_step(*arguments, **named)
        except RuntimeError as error:
            if "mixed torch.Tensor and DTensor" not in str(error):
                raise
            raise RasedError(
                f"{type(self.lightning_module).__name__} uses weights outside {', '.join(_RUN)} of the enhancer, which "
                "trainer/fsdp does not put together: write -c trainer/ddp instead."
            ) from error

    def _register_ddp_hooks(self) -> None:
        """Do nothing: these hooks are for copied weights."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return whole weights; all ranks take part."""
        return {name: whole(item) for name, item in super().lightning_module_state_dict().items()}

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the whole state of an optimiser; all ranks take part."""
        state: dict[str, Any] = dict(super().optimizer_state(optimizer))
        found = {
            number: {name: _whole(value) for name, value in values.items()}
            for number, values in state["state"].items()
        }
        return {**state, "state": found}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load this rank's part of the state of each optimiser."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [item for group in optimizer.param_groups for item in group["params"]]
            numbers = [number for group in state["param_groups"] for number in group["params"]]
            found = {
                number: {
                    name: part(value, like=weight) if isinstance(value, Tensor) else value
                    for name, value in state["state"].get(number, {}).items()
                }
                for number, weight in zip(numbers, weights, strict=True)
            }
            optimizer.load_state_dict({**state, "state": found})


def _whole(value: Any) -> Any:
    return whole(value) if isinstance(value, Tensor) else value


def refuse(module: Steps, precision: str) -> None:
    """Refuse a training that cannot be divided.

    Raises:
        RasedError: it trains more than the enhancer, or in a precision whose loss scale each rank would choose alone.
    """
    name, players = type(module).__name__, module.players()
    own = {id(item) for item in module.enhancer.parameters()}
    others = [
        key for key, item in module.named_parameters() if item.requires_grad and id(item) not in own
    ]
    if len(players) > 1 or others:
        what = (
            f"{len(players)} networks in turn"
            if len(players) > 1
            else f"more than the enhancer ({others[0]})"
        )
        raise RasedError(
            f"trainer/fsdp divides the enhancer alone, but {name} trains {what}: write -c trainer/ddp instead."
        )
    if precision == "16-mixed":
        raise RasedError(
            "trainer/fsdp does not support trainer.precision 16-mixed, whose loss scale each rank would choose alone: "
            "write bf16-mixed or 32-true, or -c trainer/ddp."
        )
