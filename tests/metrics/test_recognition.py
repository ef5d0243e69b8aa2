"""Error rates against what was said and what is heard, with a real recogniser."""

import numpy as np
import pytest
import soundfile
import torch

from rased.metrics import metric
from rased.metrics.recognition import WER, normalise
from rased.native.recogniser import _decoder, recognise
from tests import EXCERPTS
from tests.metrics.conftest import SAID

needs_recogniser = pytest.mark.skipif(
    bool(metric("wer").unavailable()), reason="pip install pocketsphinx"
)


class Scripted(WER):
    """A recogniser that hears what it is told."""

    name, title, packages = "scripted", "Scripted", ("torchmetrics",)

    @staticmethod
    def transcribe(waveform):
        return {0.1: "The cat sat, on THE mat!", 0.2: ""}[round(float(waveform[0]), 1)]


class ScriptedCER(Scripted):
    characters = True


def rate(kind, first, text):
    return kind()(estimate=torch.full((16_000,), first), text=text, sample_rate=16_000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the cat sat on the mat", 0.0),
        ("The cat sat on a mat.", 1 / 6),  # one substitution
        ("the cat on the mat", 1 / 5),  # one insertion
        ("the big cat sat on the old mat", 2 / 8),  # two deletions
    ],
)
def test_words_are_counted_as_by_hand(text, words):
    assert rate(Scripted, 0.1, text).value == pytest.approx(words)


def test_characters_are_counted_as_by_hand():
    assert rate(ScriptedCER, 0.1, "the cat sat on the mad").value == pytest.approx(1 / 22)


def test_nothing_heard_is_every_word_lost_and_no_text_is_no_value():
    assert rate(Scripted, 0.2, "one two").value == 1.0
    assert rate(Scripted, 0.1, " ... ").status == "undefined: the transcript has no words"


def test_normalisation():
    assert normalise("It\N{RIGHT SINGLE QUOTATION MARK}s  8 O'CLOCK \u2013 na\u00efve?") == (
        "it's 8 o'clock na\u00efve"
    )


@needs_recogniser
def test_the_recogniser_hears_the_reader_and_loses_words_in_babble(spoken, in_babble):
    def value(name, estimate):
        return metric(name)(estimate=estimate, target=spoken, text=SAID, sample_rate=16_000).value

    # "he might even have been made the amiable himself": one word too many of eight.
    assert value("wer", spoken) == pytest.approx(1 / 8)
    assert value("cer", spoken) == pytest.approx(4 / len(SAID))
    assert value("dwer", spoken) == value("dcer", spoken) == 0.0
    assert value("wer", in_babble) > 0.3
    assert value("dwer", in_babble) > 0.3


@needs_recogniser
def test_what_is_heard_is_what_a_fresh_recogniser_hears_in_any_order():
    """One decoder keeps features of what it heard before: without a reset most of these texts differ."""
    clips = [
        soundfile.read(EXCERPTS / "target" / f"{name}.flac", dtype="float32")[0][8_000:22_000]
        for name in ("m0002", "m0004", "m0022", "m0026")
    ]
    fresh = []
    for clip in clips:
        _decoder.cache_clear()
        fresh.append(recognise(clip))
    for seed in range(1, 3):
        order = np.random.default_rng(seed).permutation(len(clips)).tolist()
        heard = {place: recognise(clips[place]) for place in order}
        assert [heard[place] for place in range(len(clips))] == fresh
    assert len(set(fresh)) > 2


@needs_recogniser
def test_a_target_without_words_is_no_reference(spoken):
    tone = 0.1 * torch.sin(2 * torch.pi / 8 * torch.arange(len(spoken)))
    outcome = metric("dwer")(estimate=spoken, target=tone, sample_rate=16_000)
    assert outcome.status == "undefined: the recogniser finds no words in the target"
