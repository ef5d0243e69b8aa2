"""What suits each other in a training: loss and enhancer, enhancer and data, a configuration and a checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rased.construction import Remembered, spec_of
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.models.base import Enhancer


def check_numbers(of: str, **given: tuple[Any, Any, Any]) -> None:
    """Check (value, least, most) of the settings of something by name; None is no value.

    Raises:
        RasedError: one is out of its range.
    """
    for name, (value, least, most) in given.items():
        if value is None:
            continue
        if not (least <= value < float("inf") and (most is None or value <= most)):
            allowed = f"{least} or more" if most is None else f"a number from {least} to {most}"
            raise RasedError(f"{of}.{name} is {value}; give {allowed}.")


def check_loss(loss: Loss, enhancer: Enhancer, domains: Sequence[str], story: str) -> None:
    """Check that a loss compares what the story trains on and the enhancer has.

    Raises:
        RasedError: it does not.
    """
    name = type(loss).__name__
    for domain in loss.domains:
        if domain not in domains:
            raise RasedError(
                f"the loss {name} compares the {domain}, and {story} trains on the "
                f"{' or '.join(domains)}: choose another loss or another module."
            )
        if domain not in enhancer.domains:
            raise RasedError(
                f"the loss {name} compares the {domain}, which {type(enhancer).__name__} does "
                "not have: choose a loss on the waveform (rased.losses.spectral.OnSTFT wraps "
                "spectral ones)."
            )


def check_terms(terms: Mapping[str, Any], player: str) -> None:
    """Check what `losses` gave for a player.

    Raises:
        RasedError: no term, or one that is not one number.
    """
    if not terms:
        raise RasedError(
            f"losses() gave nothing for the player '{player}': give one term at least."
        )
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim:
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise RasedError(
                f"losses() gave {kind} as '{name}' for the player '{player}': give a tensor of one number, a mean, say."
            )


def check_rate(enhancer: Enhancer, data: Any) -> None:
    """Check that data have the sample rate of the enhancer.

    Raises:
        RasedError: they have another one.
    """
    from rased.data.datamodule import MixtureDataModule

    rate = enhancer.sample_rate
    if isinstance(data, MixtureDataModule) and data.mixing.sample_rate != rate:
        theirs = data.mixing.sample_rate
        raise RasedError(
            f"the enhancer works at {rate} Hz and the data have {theirs} Hz: set model.enhancer.sample_rate to "
            f"{theirs} where the model allows it, or pack the data with --sample-rate {rate} and set "
            f"data.mixing.sample_rate to {rate}."
        )


def check_channels(enhancer: Enhancer, data: Any) -> None:
    """Check that mixtures have the channels of the enhancer.

    Raises:
        RasedError: they have more or fewer.
    """
    from rased.data.datamodule import MixtureDataModule

    if not isinstance(data, MixtureDataModule):
        return
    for scene in (data.scene, data.validation_scene):
        if scene.microphones != enhancer.channels:
            raise RasedError(
                f"{type(enhancer).__name__} takes {enhancer.channels} channels and the mixtures have "
                f"{scene.microphones}: set data.scene.microphones to {enhancer.channels}."
            )


def check_plain(configuration: Any, story: str) -> None:
    """Check that a checkpoint can hold a configuration.

    Raises:
        RasedError: it cannot.
    """
    if not is_plain(configuration):
        raise RasedError(
            f"the configuration of this {story} cannot be saved: make it by "
            "rased.training.checkpoint.build_module({'class_path': ..., 'init_args': {...}})."
        )


def is_plain(value: Any) -> bool:
    """Whether a value is made of mappings, lists, numbers and text alone."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def written(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments with every part of them as its configuration.

    Raises:
        RasedError: an argument of a part cannot be written down.
    """
    return {
        name: spec_of(value) if isinstance(value, nn.Module | Remembered) else value
        for name, value in given.items()
    }
