"""Word and character error rates of a speech recogniser on the estimate.

There are two references: `wer` and `cer` compare with the transcript, if the test set has one;
`dwer` and `dcer` (differential) with the recogniser's output for the target. The recogniser
is PocketSphinx, whose English model is part of its package. Its own error rate is high, so compare
differences between systems, not absolute values. For another recogniser, write a subclass with another
name and `transcribe`, and declare it as an entry point of the group `rased.metrics`:

    class WhisperWER(WER):
        name, title = "wer-whisper", "WER Whisper"
        packages = ("openai-whisper", "torchmetrics")

        @staticmethod
        def transcribe(waveform):
            return model().transcribe(waveform)["text"]
"""

import re
import unicodedata
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from rased.metrics.base import Metric, Undefined, remember
from rased.native import call, recogniser
from rased.signal.domains import Samples

RATE = 16_000


class _ErrorRate(Metric):
    """Errors divided by the length of the reference, in words or characters; may exceed 1."""

    direction = "lower"
    range = (0.0, float("inf"))
    sample_rate = RATE
    task = "recognition"
    packages = ("pocketsphinx", "torchmetrics")
    minimum = 0.25
    characters = False

    @property
    def version(self) -> str:
        """Return the recogniser and the text normalisation."""
        engine = super().version.partition(",")[0]
        return f"{engine}, features reset, lower case without punctuation"

    @staticmethod
    def transcribe(waveform: Float[np.ndarray, " time"]) -> str:
        """Return the text in 16 kHz audio; equal input gives equal text, whatever was recognised before."""
        return call(recogniser.recognise, waveform)

    def _rate(self, estimate: Samples, reference: str) -> float:
        from torchmetrics.functional.text import char_error_rate, word_error_rate

        heard = normalise(self._heard(estimate))
        return float((char_error_rate if self.characters else word_error_rate)(heard, reference))

    def _heard(self, waveform: Samples) -> str:
        return _transcript(type(self).transcribe, waveform.numpy())


class WER(_ErrorRate):
    """Word error rate against the transcript."""

    name = "wer"
    title = "WER"
    needs_reference = False
    needs_text = True

    def compare(self, estimate: Samples, text: str) -> float:
        """Return the errors per word of the transcript; undefined for an empty transcript."""
        reference = normalise(text)
        if not reference:
            raise Undefined("the transcript has no words")
        return self._rate(estimate, reference)


class CER(WER):
    """Character error rate against the transcript."""

    name = "cer"
    title = "CER"
    characters = True


class DifferentialWER(_ErrorRate):
    """Word error rate against the recogniser's output for the target."""

    name = "dwer"
    title = "dWER"

    def measure(self, estimate: Samples, target: Samples | None) -> float:
        """Return the errors per word recognised in the target; undefined if there are none."""
        assert target is not None
        reference = normalise(self._heard(target))
        if not reference:
            raise Undefined("the recogniser finds no words in the target")
        return self._rate(estimate, reference)


class DifferentialCER(DifferentialWER):
    """Character error rate against the recogniser's output for the target."""

    name = "dcer"
    title = "dCER"
    characters = True


def normalise(text: str) -> str:
    """Convert to lower case, one space between words, no punctuation except apostrophes inside words.

    >>> normalise(" Don't -- STOP, 'now'! ")
    "don't stop now"
    """
    plain = (
        unicodedata.normalize("NFKC", text)
        .casefold()
        .replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    )
    return " ".join(re.findall(r"\w+(?:'\w+)*", plain))


@remember
def _transcript(
    transcribe: Callable[[Float[np.ndarray, " time"]], str], waveform: Float[np.ndarray, " time"]
) -> str:
    return transcribe(waveform)
