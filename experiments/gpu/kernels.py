"""The same arithmetic by other kernels, for GPUs on which cuDNN and PyTorch take slow ones here.

Found by the profiler on an H200 (ms of a step of 64 x 4 s of fastenhancer-mid, 109 in all): 36 for the gradients of the
biases of three GRUs, 29 for one batch norm whose gradient did not lie in memory as its input does. Likewise 54 of 287
ms of a step of bsrnn-offline are bias gradients, and 186 are LSTMs in float32 (which autocast would make float16,
where small gradients vanish).

`apply` lets recurrent layers run without biases (their input has a constant 1, and a GRU one unit that stays 1), or
also in float16 with gradients that are scaled there and back, and gives batch norms gradients that lie as they want.
"""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MODE = "RASED_RNN"
"""Environment variable: plain (without biases, float32), half (also float16) or off."""
_ALIGNED = 8
_OPEN = 30.0
"""What an update gate gets that is to stay 1."""


class _Scale:
    """The factor of the gradients within a layer."""

    value: Tensor


class _Down(torch.autograd.Function):
    """To float16; the gradient back to float32 and to its size."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return tensor.half()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.float() / ctx.scale.value, None


class _Up(torch.autograd.Function):
    """To float32; the gradient to float16, its largest value 1."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, scale: _Scale) -> Tensor:
        ctx.scale = scale
        return tensor.float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.scale.value = 1 / gradient.abs().amax().clamp_min(1e-30)
        return (gradient * ctx.scale.value).half(), None


def _aligned(number: int) -> int:
    return -(-number // _ALIGNED) * _ALIGNED


def _with_one(sequence: Tensor, width: int) -> Tensor:
    """A constant 1 behind the inputs, and zeros behind that."""
    missing = width - sequence.shape[-1] - 1
    return functional.pad(functional.pad(sequence, (0, 1), value=1.0), (0, missing))


def _run(
    function: Callable[..., tuple[Tensor, ...]],
    sequence: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    *,
    half: bool,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """One layer without biases."""
    scale = _Scale()
    down: Callable[[Tensor], Tensor] = (
        (lambda one: _Down.apply(one, scale)) if half else Tensor.float
    )
    flat = down(torch.cat([weight.flatten() for weight in weights]))
    pieces = flat.split([weight.numel() for weight in weights])
    shaped = [piece.view_as(weight) for piece, weight in zip(pieces, weights, strict=True)]
    state: Any = [one.half() if half else one.float() for one in states]
    state = tuple(state) if len(state) > 1 else state[0]
    flags = (False, 1, 0.0, training, bidirectional, batch_first)
    output, *after = function(down(sequence), state, shaped, *flags)
    if half:
        output, after = _Up.apply(output, scale), [one.float() for one in after]
    return output, *after


def lstm(layer: nn.LSTM, sequence: Tensor, state: Any, *, half: bool) -> tuple[Tensor, Any]:
    """What an LSTM gives: its layers one after the other, without dropout."""
    ways = 1 + layer.bidirectional
    if state is None:
        rows = sequence.shape[0 if layer.batch_first else 1]
        zeros = sequence.new_zeros(
            layer.num_layers * ways, rows, layer.hidden_size, dtype=torch.float32
        )
        state = (zeros, zeros)
    ends = []
    for number in range(layer.num_layers):
        before = [one[number * ways : (number + 1) * ways] for one in state]
        sequence, *end = _lstm_layer(layer, number, sequence, before, half=half)
        ends.append(end)
    memory, cell = (torch.cat(parts) for parts in zip(*ends, strict=True))
    return sequence, (memory, cell)


def _lstm_layer(
    layer: nn.LSTM, number: int, sequence: Tensor, state: list[Tensor], *, half: bool
) -> tuple[Tensor, ...]:
    inputs = sequence.shape[-1]
    width = _aligned(inputs + 1)
    weights = []
    for end in ("", "_reverse") if layer.bidirectional else ("",):
        inner, outer, one, other = (
            getattr(layer, f"{name}_l{number}{end}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inner = torch.cat([inner, (one + other)[:, None]], dim=1)
        weights += [functional.pad(inner, (0, width - inner.shape[1])), outer]
    return _run(
        torch.lstm,
        _with_one(sequence, width),
        state,
        weights,
        half=half,
        training=layer.training,
        bidirectional=layer.bidirectional,
        batch_first=layer.batch_first,
    )


def gru(
    layer: nn.GRU, sequence: Tensor, state: Tensor, parts: list[Tensor], *, half: bool
) -> tuple[Tensor, Tensor]:
    """What a GRU of one layer and direction gives; `parts` are its two matrices and its two biases."""
    inner, outer, one, other = parts
    hidden, inputs = layer.hidden_size, layer.input_size
    wide, width = _aligned(hidden + 1), _aligned(inputs + 1)
    inner, outer = inner.view(3, hidden, inputs), outer.view(3, hidden, hidden)
    reset_update, new = (one + other).view(3, hidden)[:2], one.view(3, hidden)[2:]
    inner = torch.cat([inner, torch.cat([reset_update, new])[..., None]], dim=2)
    inner = functional.pad(inner, (0, width - inputs - 1, 0, wide - hidden))
    constant = torch.zeros_like(inner)
    constant[1, hidden, inputs] = _OPEN  # the unit that stays 1
    gated = functional.pad(other.view(3, hidden)[2:], (0, 0, 2, 0))
    outer = torch.cat([outer, gated[..., None]], dim=2)
    outer = functional.pad(outer, (0, wide - hidden - 1, 0, wide - hidden))
    output, after = _run(
        torch.gru,
        _with_one(sequence, width),
        [_with_one(state, wide)],
        [(inner + constant).flatten(0, 1), outer.flatten(0, 1)],
        half=half,
        training=layer.training,
        bidirectional=False,
        batch_first=False,
    )
    return output[..., :hidden], after[..., :hidden]


def _hooked(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def hooked(self: nn.Module, input: Tensor) -> Tensor:
        output = forward(self, input)
        if output.requires_grad:
            last = input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last)
            kind = torch.channels_last if last else torch.contiguous_format
            output.register_hook(lambda gradient: gradient.contiguous(memory_format=kind))
        return output

    return hooked


def apply(mode: str | None = None, *, compile_norms: bool = False) -> None:
    """Let the layers of rased use these kernels in this process."""
    mode = mode or os.environ.get(MODE, "plain")
    if mode == "off":
        return
    from rased.layers import norm, weight_norm

    half, plain = mode == "half", nn.LSTM.forward

    def run(self: nn.LSTM, input: Any, hx: Any = None) -> Any:
        fits = isinstance(input, Tensor) and input.ndim == 3 and self.bias and not self.proj_size
        if not fits or (self.dropout and self.training):
            return plain(self, input, hx)
        with torch.autocast(input.device.type, enabled=False):
            return lstm(self, input.float(), hx, half=half)

    def forward(self: Any, sequence: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(sequence.device.type, enabled=False):
            parts = [
                weight_norm.scaled_rows(self.weight_ih_l0, self.scale_ih),
                weight_norm.scaled_rows(self.weight_hh_l0, self.scale_hh),
                self.bias_ih_l0,
                self.bias_hh_l0,
            ]
            return gru(self, sequence.float(), state, parts, half=half)

    nn.LSTM.forward = run  # type: ignore[method-assign]
    weight_norm.WeightNormGRU.forward = forward  # type: ignore[method-assign]
    batch_norm = nn.modules.batchnorm._BatchNorm
    batch_norm.forward = _hooked(batch_norm.forward)  # type: ignore[method-assign]
    if compile_norms:
        cumulative = norm.CumulativeLayerNorm
        cumulative.forward = torch.compile(cumulative.forward, dynamic=False)  # type: ignore[method-assign]
