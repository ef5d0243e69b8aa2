"""Check that parts of a training fit together: loss and enhancer, enhancer and data, configuration and checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rased.construction import Remembered, spec_of
from rased.data.testset import ENROLMENT
from rased.errors import RasedError
from rased.losses.base import Loss
from rased.models.base import Enhancer


def check_numbers(of: str, **given: tuple[Any, Any, Any]) -> None:
    """Check the range of settings, given by name as (value, minimum, maximum); a value of None is not checked.

    Raises:
        RasedError: a value is out of its range.
    """
    for name, (value, least, most) in given.items():
        if value is None:
            continue
        # A chain of comparisons is false for NaN.
        if not (least <= value < float("inf") and (most is None or value <= most)):
            allowed = f"{least} or more" if most is None else f"a number from {least} to {most}"
            raise RasedError(f"{of}.{name} is {value}; give {allowed}.")


def check_loss(loss: Loss, enhancer: Enhancer, domains: Sequence[str], story: str) -> None:
    """Check that the training and the enhancer provide the domain of a loss, and that the sample rates agree.

    Raises:
        RasedError: they do not.
    """
    # Also the losses inside a sum or a wrapper.
    for part in loss.modules():
        rate = part.sample_rate if isinstance(part, Loss) else None
        if rate not in (None, enhancer.sample_rate):
            raise RasedError(
                f"the loss {type(part).__name__} is set to {rate} Hz, but {type(enhancer).__name__} works at "
                f"{enhancer.sample_rate} Hz: set sample_rate of the loss, or choose another loss."
            )
    name = type(loss).__name__
    for domain in loss.domains:
        if domain not in domains:
            raise RasedError(
                f"the loss {name} compares the {domain}, but {story} trains on the "
                f"{' or '.join(domains)}: choose another loss or another module."
            )
        if domain not in enhancer.domains:
            raise RasedError(
                f"the loss {name} compares the {domain}, which {type(enhancer).__name__} does "
                "not have: choose a loss on the waveform (rased.losses.spectral.OnSTFT wraps "
                "spectral ones)."
            )


def check_terms(terms: Mapping[str, Any], player: str) -> None:
    """Check what `losses` returned for a player.

    Raises:
        RasedError: no term, or a term that is not one number.
    """
    if not terms:
        raise RasedError(
            f"losses() returned nothing for the player '{player}': return at least one term."
        )
    for name, value in terms.items():
        if not isinstance(value, Tensor) or value.ndim:
            kind = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise RasedError(
                f"losses() returned {kind} as '{name}' for the player '{player}': return a scalar tensor."
            )


def check_rate(enhancer: Enhancer, data: Any) -> None:
    """Check that data and enhancer have the same sample rate.

    Raises:
        RasedError: the rates differ.
    """
    from rased.data.datamodule import MixtureDataModule

    rate = enhancer.sample_rate
    if isinstance(data, MixtureDataModule) and data.mixing.sample_rate != rate:
        theirs = data.mixing.sample_rate
        raise RasedError(
            f"the enhancer works at {rate} Hz, but the data have {theirs} Hz: set model.enhancer.sample_rate to "
            f"{theirs} where the model allows it, or pack the data with --sample-rate {rate} and set "
            f"data.mixing.sample_rate to {rate}."
        )


def check_channels(enhancer: Enhancer, data: Any) -> None:
    """Check that mixtures and enhancer have the same number of channels.

    Raises:
        RasedError: the numbers differ.
    """
    from rased.data.datamodule import MixtureDataModule

    if not isinstance(data, MixtureDataModule):
        return
    for scene in (data.scene, data.validation_scene):
        if scene.microphones != enhancer.channels:
            raise RasedError(
                f"{type(enhancer).__name__} takes {enhancer.channels} channels, but the mixtures have "
                f"{scene.microphones}: set data.scene.microphones to {enhancer.channels}."
            )


def refuse_channels(enhancer: Enhancer, story: str) -> None:
    """Refuse an enhancer of several microphones.

    Raises:
        RasedError: it has several.
    """
    if enhancer.channels != 1:
        raise RasedError(
            f"{story} trains enhancers of one channel, but {type(enhancer).__name__} takes {enhancer.channels}: choose "
            "another model."
        )


def refuse_as_second(network: Enhancer, name: str, story: str) -> None:
    """Refuse a second network that would need more than one channel of audio.

    Args:
        network: a network that is trained beside the enhancer.
        name: of its argument.
        story: class that trains it.

    Raises:
        RasedError: it has several channels, or needs statistics or conditions, which it would not get.
    """
    refuse_channels(network, story)
    if network.needs_statistics or network.conditions:
        raise RasedError(
            f"{type(network).__name__} cannot be the {name}: it needs statistics or conditions of speech; "
            "choose a model such as model/gtcrn."
        )


def check_conditions(enhancer: Enhancer, data: Any) -> None:
    """Check that mixtures have the conditions of the enhancer, and no others.

    Raises:
        RasedError: they have not.
    """
    from rased.data.datamodule import MixtureDataModule

    if not isinstance(data, MixtureDataModule):
        return
    name, wanted = type(enhancer).__name__, enhancer.conditions
    for scene in (data.scene, data.validation_scene):
        given = () if scene.enrolment is None else (ENROLMENT,)
        missing = [condition for condition in wanted if condition not in given]
        if missing == [ENROLMENT]:
            raise RasedError(
                f"{name} needs the condition '{ENROLMENT}': set data.scene.enrolment to seconds of another utterance "
                "of the speaker, such as 3.0, and data.validation_scene.enrolment where there is one."
            )
        if missing:
            raise RasedError(
                f"{name} needs the condition '{missing[0]}', which {type(data).__name__} does not give: write a data "
                "module whose batches hold it."
            )
        if given and not wanted:
            raise RasedError(
                f"{name} has no condition '{ENROLMENT}'; it takes none: set data.scene.enrolment to null."
            )


def check_plain(configuration: Any, story: str) -> None:
    """Check that a configuration can be stored in a checkpoint.

    Raises:
        RasedError: it cannot.
    """
    if not is_plain(configuration):
        raise RasedError(
            f"the configuration of this {story} cannot be saved: build it with "
            "rased.training.checkpoint.build_module({'class_path': ..., 'init_args': {...}})."
        )


def is_plain(value: Any) -> bool:
    """Return whether a value consists of mappings, lists, numbers and text only."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def written(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with every object replaced by its configuration.

    Raises:
        RasedError: an argument of an object cannot be stored.
    """
    return {
        name: spec_of(value) if isinstance(value, nn.Module | Remembered) else value
        for name, value in given.items()
    }
