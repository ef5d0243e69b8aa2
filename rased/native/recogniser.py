"""PocketSphinx: what it hears in an utterance, whatever it heard before."""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float


def recognise(waveform: Float[np.ndarray, " time"]) -> str:
    """The text of 16 kHz audio; "" where nothing is heard."""
    decoder = _decoder()
    decoder.reinit_feat()  # the features of an utterance depend on the one before
    decoder.start_utt()
    samples = (waveform.clip(-1.0, 1.0) * 32767).astype(np.int16)
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return "" if heard is None else str(heard.hypstr)


@lru_cache(maxsize=1)
def _decoder() -> Any:
    from pocketsphinx import Decoder

    # Means of the whole utterance: the usual running means remember earlier utterances.
    return Decoder(cmn="batch", loglevel="FATAL")
