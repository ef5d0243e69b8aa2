"""Side information for a network of frames: concatenated, by FiLM, or by attention.

The example is the voice of a speaker: an enrolment, another utterance, is encoded by a small network that is trained
with the enhancer, as in K. Žmolíková et al., "SpeakerBeam", IEEE JSTSP 13(4), 2019. A given embedding works, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from rased.errors import RasedError
from rased.signal.features import log_mel_power
from rased.signal.state import State
from rased.signal.stft import STFT

_BANDS = 40


@dataclass(frozen=True)
class Conditioning:
    """How a network gets side information.

    Attributes:
        by: "concatenation" appends it to the inputs of each frame. "film" scales and shifts the inputs (feature-wise
            linear modulation, Perez et al., AAAI 2018). "attention" lets each frame choose from the frames of the
            recording, and appends the result.
        name: of the condition (`Enhancer.conditions`): "enrolment" is what mixtures and test sets can provide.
        of: "recording": a waveform, which is encoded; "embedding": `size` numbers, used as they are.
        size: of the embedding, and of the frames of the encoded recording.
    """

    by: Literal["concatenation", "film", "attention"] = "film"
    name: str = "enrolment"
    of: Literal["recording", "embedding"] = "recording"
    size: int = 64

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.size < 1 or not self.name:
            raise RasedError(
                f"conditioning: size {self.size} must be at least 1, and name '{self.name}' must not be empty."
            )
        if self.by == "attention" and self.of == "embedding":
            raise RasedError(
                "conditioning: by 'attention' chooses from the frames of a recording, but an embedding has none: "
                "choose of: recording, or by: film or concatenation."
            )


class RecordingEncoder(nn.Module):
    """Encodes a recording of any length as frames; the log-mel power of its quiet and loud parts is levelled.

    Args:
        size: numbers per frame.
        sample_rate: Hz.
    """

    def __init__(self, size: int, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        hop_length = sample_rate // 100
        self.stft = STFT(4 * hop_length, 2 * hop_length, 4 * hop_length)
        self.recurrent = nn.GRU(_BANDS, size, batch_first=True)

    def forward(
        self, recording: Float[Tensor, "batch enrolment_time"]
    ) -> Float[Tensor, "batch enrolment_frames size"]:
        """Return the encoded frames, 50 per second."""
        spectrum = self.stft.analysis(recording)
        logs = log_mel_power(spectrum, bands=_BANDS, sample_rate=self.sample_rate)
        frames = rearrange(logs - logs.mean((1, 2), keepdim=True), "n band t -> n t band") / 5.0
        encoded: Tensor = self.recurrent(frames)[0]
        return encoded


class ConditionStage(nn.Module):
    """Adds side information to the inputs of a network.

    Args:
        settings: how.
        inputs: numbers per frame before it.
        sample_rate: of a recording, in Hz.
    """

    def __init__(self, settings: Conditioning, inputs: int, sample_rate: int) -> None:
        super().__init__()
        self.settings, size = settings, settings.size
        self.outputs = inputs if settings.by == "film" else inputs + size
        if settings.of == "recording":
            self.encoder = RecordingEncoder(size, sample_rate)
        if settings.by == "film":
            self.modulation = nn.Linear(size, 2 * inputs)
            nn.init.zeros_(self.modulation.bias)
        elif settings.by == "attention":
            self.query = nn.Linear(inputs, size)
            self.key, self.value = nn.Linear(size, size), nn.Linear(size, size)

    def embed(self, condition: Mapping[str, Tensor]) -> State:
        """Return what every frame needs of the condition, computed once per file or stream.

        Raises:
            RasedError: the condition has another shape.
        """
        given = condition[self.settings.name]
        wanted = (
            "(batch, time)" if self.settings.of == "recording" else f"(batch, {self.settings.size})"
        )
        wrong = self.settings.of == "embedding" and given.shape[-1] != self.settings.size
        if given.ndim != 2 or wrong:
            raise RasedError(
                f"the condition '{self.settings.name}' has the shape {tuple(given.shape)}; it must be {wanted}."
            )
        if self.settings.of == "embedding":
            return self._of_vector(given.float())
        frames = self.encoder(given.float())
        if self.settings.by == "attention":
            return {"keys": self.key(frames), "values": self.value(frames)}
        return self._of_vector(frames.mean(1))

    def _of_vector(self, vector: Float[Tensor, "batch size"]) -> State:
        if self.settings.by == "concatenation":
            return {"vector": vector}
        scale, shift = self.modulation(vector).chunk(2, dim=-1)
        return {"scale": 1.0 + scale, "shift": shift.clone()}

    def forward(
        self, frames: Float[Tensor, "batch frames inputs"], known: State
    ) -> Float[Tensor, "batch frames outputs"]:
        """Return the inputs with the side information, given what `embed` returned."""
        match self.settings.by:
            case "film":
                return frames * known["scale"][:, None] + known["shift"][:, None]
            case "concatenation":
                added = repeat(known["vector"], "n size -> n t size", t=frames.shape[1])
            case "attention":
                likeness = self.query(frames) @ known["keys"].mT / self.settings.size**0.5
                added = likeness.softmax(-1) @ known["values"]
        return torch.cat([frames, added], dim=-1)
