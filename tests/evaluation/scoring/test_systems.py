"""What identifies a system in a result."""

import functools
import inspect

import torch

from rased import load
from rased.evaluation.scoring.systems import fingerprint
from rased.layers.frontend import Features, Inputs
from rased.layers.level import Level
from rased.models.classical import METHODS, OMLSA, WPEOMLSA
from rased.models.frequency import FrequencyDomainEnhancer, PostProcessing
from rased.models.gru import NSNet2
from rased.models.lstm import LSTM
from rased.signal.stft import STFT


def test_every_setting_of_a_method_is_in_its_fingerprint():
    plain = fingerprint(OMLSA())
    assert fingerprint(OMLSA()) == plain
    settings = [
        {"smoothing": 0.5},
        {"minima_window": 0.5},  # held by the tracker
        {"n_fft": 1024, "hop_length": 256},  # held by the STFT
    ]
    prints = {fingerprint(OMLSA(**changed)) for changed in settings}
    assert len(prints | {plain}) == 4
    assert fingerprint(WPEOMLSA(taps=7)) != fingerprint(WPEOMLSA(taps=8))  # held by a part


def test_methods_differ_from_each_other():
    assert len({fingerprint(kind()) for kind in METHODS.values()}) == len(METHODS)


def test_where_a_class_lies_and_arguments_that_nobody_gives_change_nothing():
    moved = type("OMLSA", (OMLSA,), {"__module__": "elsewhere", "__qualname__": "OMLSA"})
    assert fingerprint(moved()) == fingerprint(OMLSA())
    default = inspect.signature(OMLSA).parameters["smoothing"].default
    assert fingerprint(OMLSA(smoothing=default)) == fingerprint(OMLSA())


def test_another_version_is_another_system(monkeypatch):
    before = fingerprint(OMLSA()), fingerprint(WPEOMLSA())
    monkeypatch.setattr(OMLSA, "version", OMLSA.version + 1)
    assert fingerprint(OMLSA()) != before[0]
    assert fingerprint(WPEOMLSA()) != before[1]  # a part of it


def test_a_checkpoint_of_the_zoo_is_what_its_parts_make_by_hand():
    loaded = load("gru-mask-16k")
    stft = STFT(n_fft=512, hop_length=256, win_length=512)
    network = functools.partial(NSNet2, hidden=256, layers=2, expansion=256)
    by_hand = FrequencyDomainEnhancer(
        network,
        inputs=Inputs(normalisation="global"),
        stft=stft,
        post_processing=PostProcessing(attenuation_limit_db=13.0),
    )
    by_hand.load_state_dict(loaded.state_dict())
    assert fingerprint(by_hand) == fingerprint(loaded)


def test_settings_of_parts_count_wherever_they_are_held():
    def frequency(**options):
        torch.manual_seed(0)
        network = functools.partial(LSTM, **options.pop("network", {"hidden": 8}))
        return fingerprint(FrequencyDomainEnhancer(network, **options))

    changed = [
        {"stft": STFT(window="hann")},
        {"stft": STFT(pad_mode="reflect")},
        {"features": Features(floor=1e-3)},
        {"level": Level(kind="rms")},
        {"post_processing": PostProcessing(attenuation_limit_db=12.0)},
        {"network": {"hidden": 8, "dropout": 0.5}},
    ]
    assert len({frequency(), *(frequency(**one) for one in changed)}) == 1 + len(changed)
    assert frequency(stft=STFT()) == frequency()
