"""What identifies a system in a result."""

from rased.evaluation.systems import fingerprint
from rased.models.classical import METHODS, OMLSA, WPEOMLSA


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
