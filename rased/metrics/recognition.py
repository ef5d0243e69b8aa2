"""What a recogniser still understands: word and character error rates.

Two references, two names: `wer` and `cer` compare with what was said, where the test set knows it;
`dwer` and `dcer` (differential) with what the same recogniser hears in the target. The recogniser
is PocketSphinx, whose English model comes with its package; its own error rate is high, so that
differences between systems count, not the figures. Another recogniser is a subclass with another
name and `transcribe`, announced as an entry point of the group `rased.metrics`:

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
from torch import Tensor

from rased.metrics.base import Metric, Undefined, remember
from rased.native import call, recogniser

RATE = 16_000


class _ErrorRate(Metric):
    """Errors over the length of the reference, in words or characters; may exceed 1."""

    direction = "lower"
    range = (0.0, float("inf"))
    sample_rate = RATE
    task = "recognition"
    packages = ("pocketsphinx", "torchmetrics")
    minimum = 0.25
    characters = False

    @property
    def version(self) -> str:
        """Recogniser and how text is normalised."""
        engine = super().version.partition(",")[0]
        return f"{engine}, features reset, lower case without punctuation"

    @staticmethod
    def transcribe(waveform: Float[np.ndarray, " time"]) -> str:
        """What is heard in 16 kHz audio; equal input gives equal text, whatever came before."""
        return call(recogniser.recognise, waveform)

    def _rate(self, estimate: Float[Tensor, " time"], reference: str) -> float:
        from torchmetrics.functional.text import char_error_rate, word_error_rate

        heard = normalise(self._heard(estimate))
        return float((char_error_rate if self.characters else word_error_rate)(heard, reference))

    def _heard(self, waveform: Float[Tensor, " time"]) -> str:
        return _transcript(type(self).transcribe, waveform.numpy())


class WER(_ErrorRate):
    """Word error rate against what was said."""

    name = "wer"
    title = "WER"
    needs_reference = False
    needs_text = True

    def compare(self, estimate: Float[Tensor, " time"], text: str) -> float:
        """Errors in a word of the transcript; undefined without a word."""
        reference = normalise(text)
        if not reference:
            raise Undefined("the transcript has no word")
        return self._rate(estimate, reference)


class CER(WER):
    """Character error rate against what was said."""

    name = "cer"
    title = "CER"
    characters = True


class DifferentialWER(_ErrorRate):
    """Word error rate against what the recogniser hears in the target."""

    name = "dwer"
    title = "dWER"

    def measure(
        self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
    ) -> float:
        """Errors in a word heard in the target; undefined where there is none."""
        assert target is not None
        reference = normalise(self._heard(target))
        if not reference:
            raise Undefined("the recogniser hears no word in the target")
        return self._rate(estimate, reference)


class DifferentialCER(DifferentialWER):
    """Character error rate against what the recogniser hears in the target."""

    name = "dcer"
    title = "dCER"
    characters = True


def normalise(text: str) -> str:
    """Lower case, one space between words, no punctuation but apostrophes inside words.

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
