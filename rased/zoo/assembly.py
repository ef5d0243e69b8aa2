"""Build an enhancer from an untrusted spec and weights, never larger than the weights."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from rased.building import build, check_size
from rased.classes import Classes
from rased.errors import RasedError, cut
from rased.models.base import Enhancer

_SPARE_NUMBERS = 10_000
_LARGEST = 65_536
"""Largest integer in an untrusted spec."""
_HIGHEST = 768_000
"""Highest sample rate in Hz."""
_SPARE_PARTS = 10_000
"""Allowance of parameters, buffers and modules beyond a few for each tensor of the weights."""
_HOOKING = threading.Lock()


def assemble(
    spec: Mapping[str, Any],
    weights: Mapping[str, Any],
    *,
    classes: Classes,
    where: str,
) -> Enhancer:
    """Build an enhancer and load all of its weights; it is in eval mode.

    Classes of rased are first built without memory (on torch's "meta" device), within limits derived from the
    weights, and compared with the weights. Only then are they really built.

    Args:
        spec: class_path and init_args of the enhancer.
        weights: its state dict.
        classes: the classes that the spec may name.
        where: name of the file in error messages.

    Raises:
        RasedError: a class, key or value that is not allowed, or weights that do not fit.
    """
    for name, tensor in weights.items():
        if not is_plain(tensor):
            raise RasedError(f"{where}: '{cut(str(name))}' is not a plain tensor.")
    _check_numbers(spec, where)
    # Classes of rased can be built on "meta", which costs nothing, so that a huge network is refused before it takes
    # memory. Code of the user may need real tensors in its constructor.
    cls = classes.find(spec.get("class_path"), where=f"{where}: enhancer")
    if classes.knows(cls):
        with _bounded(weights, where), torch.device("meta"):
            sketch = build(Enhancer, spec, classes=classes, where=f"{where}: enhancer")
        _check_shapes(sketch, weights, where)
    with _bounded(weights, where):
        enhancer = build(Enhancer, spec, classes=classes, where=f"{where}: enhancer")
    _check_shapes(enhancer, weights, where)
    try:
        enhancer.load_state_dict(dict(weights), strict=True)
    except Exception as error:  # torch raises various exceptions for tensors that do not fit
        raise RasedError(f"{where} does not fit its card: {cut(str(error))}") from None
    return enhancer.eval()


def is_plain(tensor: Any) -> bool:
    """Return whether a tensor stores each of its numbers once."""
    if not isinstance(tensor, Tensor) or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _check_numbers(spec: Any, where: str) -> None:
    """Reject sizes that no enhancer has, before a window or a filter bank of that size is made.

    Raises:
        RasedError: an integer is too large.
    """
    check_size(spec, f"{where}: enhancer")
    waiting = [("", spec)]
    while waiting:
        key, item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += [(str(name), one) for name, one in item.items()]
        elif isinstance(item, list | tuple):
            waiting += [(key, one) for one in item]
        elif isinstance(item, int) and abs(item) > (_HIGHEST if key == "sample_rate" else _LARGEST):
            raise RasedError(
                f"{where}: enhancer: '{cut(key, 60)}' is {item}; the maximum is {_LARGEST}."
            )


def _check_shapes(enhancer: Enhancer, weights: Mapping[str, Tensor], where: str) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in enhancer.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in [*wanted, *given]:
        if wanted.get(name) != given.get(name):
            raise RasedError(
                f"{where} does not fit its card: '{cut(name, 80)}' has the shape {given.get(name, 'of nothing')} in "
                f"the weights and {wanted.get(name, 'of nothing')} in {type(enhancer).__name__}."
            )


class _Bounds(threading.local):
    """What modules built in this thread may still register; None: no limit."""

    left: list[int] | None = None
    refusal = ""


_BOUNDS = _Bounds()


def _count(module: nn.Module, name: str, part: Any) -> None:
    if _BOUNDS.left is None:
        return
    # PyTorch calls this for each parameter, buffer and module at the moment it is registered.
    _BOUNDS.left[0] -= part.numel() if isinstance(part, Tensor) else 0
    _BOUNDS.left[1] -= 1
    if min(_BOUNDS.left) < 0:
        raise RasedError(_BOUNDS.refusal)


@cache
def _watch_registrations() -> None:
    """Install a hook for all modules, once: PyTorch fails if that happens while another thread builds modules."""
    for register in (
        registration.register_module_parameter_registration_hook,
        registration.register_module_buffer_registration_hook,
        registration.register_module_module_registration_hook,
    ):
        register(_count)


@contextmanager
def _bounded(weights: Mapping[str, Tensor], where: str) -> Iterator[None]:
    """Stop the construction of modules in this thread if they become much larger than the weights.

    Raises:
        RasedError: they do.
    """
    with _HOOKING:
        _watch_registrations()
    # By address: a tensor that is listed under many names counts once, so names cannot raise the limit.
    stored = {tensor.data_ptr(): tensor.numel() for tensor in weights.values()}
    numbers = 4 * sum(stored.values()) + _SPARE_NUMBERS
    _BOUNDS.left = [numbers, 50 * len(weights) + _SPARE_PARTS]
    _BOUNDS.refusal = (
        f"{where}: the network that its card describes is much larger than its weights."
    )
    try:
        yield
    finally:
        _BOUNDS.left = None
