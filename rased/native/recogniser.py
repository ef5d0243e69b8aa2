"""Recognise speech with PocketSphinx, independently of earlier utterances."""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float


def recognise(waveform: Float[np.ndarray, " time"]) -> str:
    """Return the text of 16 kHz audio; "" if nothing is recognised."""
    decoder = _decoder()
    decoder.reinit_feat()  # otherwise features depend on the previous utterance
    decoder.start_utt()
    samples = (waveform.clip(-1.0, 1.0) * 32767).astype(np.int16)
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return "" if heard is None else str(heard.hypstr)


@lru_cache(maxsize=1)
def _decoder() -> Any:
    from pocketsphinx import Decoder

    # Normalise by the mean of the whole utterance: the default running mean depends on earlier utterances.
    return Decoder(cmn="batch", loglevel="FATAL")
