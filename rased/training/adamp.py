"""AdamP: AdamW without growth of the norm of scale-invariant weights.

B. Heo, S. Chun, S. J. Oh, D. Han, S. Yun, G. Kim, Y. Uh, J.-W. Ha, "AdamP: Slowing down the slowdown for momentum
optimizers on scale-invariant weights", ICLR 2021 (arXiv 2006.08217).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from rased.errors import RasedError


class AdamP(torch.optim.Optimizer):
    """Adam with decoupled weight decay; the update does not change the norm of scale-invariant weights.

    A weight is called scale-invariant if its gradient is almost orthogonal to it, row by row (when a normalisation of
    each channel follows) or as a whole. For such a weight, the part of the update along the weight is removed, and
    the decay is multiplied by `wd_ratio`. Vectors (biases, norms) are updated as in AdamW.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        betas: decay rates of the two running means.
        eps: added to the square root of the second mean.
        weight_decay: decoupled, as in AdamW.
        delta: a gradient counts as orthogonal if its largest |cosine| is below delta / sqrt(size); 0 gives AdamW.
        wd_ratio: factor on the decay of scale-invariant weights.
        nesterov: use Nesterov momentum.

    Raises:
        RasedError: a number is out of its range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        nesterov: bool = False,
    ) -> None:
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise RasedError(f"AdamP: betas is {list(betas)}; give two numbers from 0 to below 1.")
        for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            if not 0 <= value < math.inf:
                raise RasedError(f"AdamP: {name} is {value}; give 0 or more.")
        defaults = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(
            params, {**defaults, "delta": delta, "wd_ratio": wd_ratio, "nesterov": nesterov}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, weight: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[weight], weight.grad
        assert gradient is not None
        if not state:
            # A tensor, as in torch's optimisers, so that it is saved and loaded with the rest.
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
            state["exp_avg_sq"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        state["step"] += 1
        steps, (first, second) = float(state["step"]), group["betas"]
        mean = state["exp_avg"].lerp_(gradient, 1 - first)
        square = state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (square.sqrt() / math.sqrt(1 - second**steps)).add_(group["eps"])
        # Nesterov: the mean as the next step will see it.
        ahead = first * mean + (1 - first) * gradient if group["nesterov"] else mean
        update, decay = ahead / root, group["weight_decay"]
        if weight.ndim > 1:
            update, invariant = _projected(weight, gradient, update, group["delta"], group["eps"])
            decay = decay * group["wd_ratio"] if invariant else decay
        weight.mul_(1 - group["lr"] * decay)
        weight.add_(update, alpha=-group["lr"] / (1 - first**steps))


def _projected(
    weight: Tensor, gradient: Tensor, update: Tensor, delta: float, eps: float
) -> tuple[Tensor, bool]:
    """Return the update without its component along a scale-invariant weight, and whether the weight is one."""
    # Channel by channel first, then the layer as one vector, as in the authors' code.
    for pattern in ("out ... -> out (...)", "out ... -> 1 (out ...)"):
        rows, slopes = rearrange(weight, pattern), rearrange(gradient, pattern)
        cosine = torch.nn.functional.cosine_similarity(slopes, rows, dim=1, eps=eps).abs().max()
        if float(cosine) < delta / math.sqrt(rows.shape[1]):
            unit = rows / (rows.norm(dim=1, keepdim=True) + eps)
            flat = rearrange(update, pattern)
            # The projection of the paper: remove the radial component.
            flat = flat - unit * (unit * flat).sum(dim=1, keepdim=True)
            return flat.reshape(update.shape), True
    return update, False
