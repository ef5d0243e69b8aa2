"""Hidden features of an enhancer: what a layer inside it returns for each moment of the input."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rased.data.testset import ENROLMENT
from rased.errors import RasedError, nearest
from rased.models.base import Enhancer

Hidden = Float[Tensor, "batch frames width"]
_WIDE = 16
"""Features of a layer that is chosen; a gate of one number for each moment tells a head too little."""


@dataclass(frozen=True)
class Layer:
    """A layer whose output has features for each moment.

    Attributes:
        name: name of the submodule.
        axis: axis of time in its output; axis 0 is the batch, and all other axes together are the features.
        width: number of features.
    """

    name: str
    axis: int
    width: int

    def hidden(self, output: Any) -> Hidden:
        """Return the output in a common form, in float32."""
        return first_tensor(output).movedim(self.axis, 1).flatten(2).float()


def find_layer(enhancer: Enhancer, name: str | None = None) -> Layer:
    """Return a layer by name, or the last suitable one before the output layer that is wide enough.

    A layer is suitable if it runs once, and its output depends on trained parameters and has the batch first and one
    axis that grows with time. Random noise of two lengths shows which axis that is.

    Args:
        enhancer: the enhancer; it runs twice, in eval mode.
        name: name of a submodule; None: the last suitable one.

    Raises:
        RasedError: there is no such layer, or it is not suitable.
    """
    short, long = (_calls(enhancer, round(seconds * enhancer.sample_rate)) for seconds in (0.5, 1))
    suitable = {}
    for called, shapes in short.items():
        layer = _suitable(called, shapes, long.get(called, []))
        if layer is not None:
            suitable[called] = layer
    if name is None:
        leaves = [called for called in short if _is_leaf(enhancer.get_submodule(called))]
        weighted = [called for called in leaves if [*enhancer.get_submodule(called).parameters()]]
        # What the output layer returns is the prediction itself: an auxiliary target needs what it is made from.
        before = leaves[: leaves.index(weighted[-1])] if weighted else []
        found = [called for called in before if called in suitable]
        if not found:
            raise RasedError(
                f"{type(enhancer).__name__} has no suitable layer before its output layer: set model.layer to a layer "
                f"whose output has features for each moment{_such_as(list(suitable))}."
            )
        name = next((one for one in reversed(found) if suitable[one].width >= _WIDE), found[-1])
    if name not in suitable:
        what = "has no such layer" if name not in short else "has no features for each moment there"
        raise RasedError(
            f"model.layer is '{name}', but {type(enhancer).__name__} {what}; {nearest(name, list(suitable))}"
        )
    return suitable[name]


def pooled(hidden: Hidden, count: int) -> Float[Tensor, "batch {count} width"]:
    """Return the means of the features over `count` equal parts of the time.

    A product of matrices, because the gradient of torch's adaptive pooling is not deterministic on a GPU.
    """
    # First by a whole number, so that the matrix stays small for a network that works on samples.
    factor = max(1, hidden.shape[1] // (8 * count))
    whole = hidden.shape[1] // factor
    hidden = hidden[:, : whole * factor].unflatten(1, (whole, factor)).mean(2)
    # How much of part i is covered by frame j; in integers, so that the shares of a part add up to 1.
    part = whole * torch.arange(count + 1, device=hidden.device)[:, None]
    edge = count * torch.arange(whole + 1, device=hidden.device)
    covered = torch.minimum(part[1:], edge[1:]) - torch.maximum(part[:-1], edge[:-1])
    return (covered.clamp_min(0) / whole).to(hidden) @ hidden


def first_tensor(output: Any) -> Tensor:
    """Return the first tensor in the output of a layer, such as that of a recurrent layer and its state."""
    while isinstance(output, list | tuple) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else torch.empty(0)


@torch.enable_grad()
def _calls(enhancer: Enhancer, time: int) -> dict[str, list[tuple[int, ...]]]:
    """Run an enhancer on two rows of noise; return the shapes that each submodule returns, in the order of calls."""
    found: dict[str, list[tuple[int, ...]]] = {}

    def listen(name: str) -> Any:
        def note(module: nn.Module, given: Any, output: Any) -> None:
            tensor = first_tensor(output)
            # Without a gradient, such as in fixed features, an auxiliary target could not teach the network.
            fits = tensor.is_floating_point() and tensor.requires_grad
            found.setdefault(name, []).append(tuple(tensor.shape) if fits else ())

        return note

    modules = [(name, part) for name, part in enhancer.named_modules() if name]
    hooks = [part.register_forward_hook(listen(name)) for name, part in modules]
    modes = [(part, part.training) for part in enhancer.modules()]
    device = next(enhancer.parameters()).device
    shape = (2, time) if enhancer.channels == 1 else (2, enhancer.channels, time)
    # A generator of its own: which layer is found must not move the random numbers of the training.
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device) - 0.5
    # Any sound does for an enrolment: only shapes count.
    condition = {ENROLMENT: noise.reshape(2, -1)} if ENROLMENT in enhancer.conditions else None
    try:
        enhancer.eval()
        # Uniform noise of about -30 dB rms.
        enhancer.predict(0.1 * noise, **enhancer.options(2, condition=condition))
    finally:
        for part, mode in modes:
            part.training = mode
        for hook in hooks:
            hook.remove()
    return found


def _suitable(name: str, short: list[tuple[int, ...]], long: list[tuple[int, ...]]) -> Layer | None:
    """Return the layer if it runs once, with the batch first and one axis of time."""
    if len(short) != 1 or len(long) != 1 or len(short[0]) != len(long[0]) or len(short[0]) < 3:
        return None
    before, after = short[0], long[0]
    grown = [
        axis for axis, sizes in enumerate(zip(before, after, strict=True)) if sizes[0] < sizes[1]
    ]
    # 2: the rows of `_calls`.
    if before[0] != 2 or len(grown) != 1 or grown[0] == 0:
        return None
    # The features must not depend on the length.
    rest = [size for axis, size in enumerate(after) if axis not in (0, grown[0])]
    if rest != [size for axis, size in enumerate(before) if axis not in (0, grown[0])]:
        return None
    return Layer(name, grown[0], torch.Size(rest).numel())


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def _such_as(names: list[str]) -> str:
    return f", such as {', '.join(names[-3:])}" if names else ""
