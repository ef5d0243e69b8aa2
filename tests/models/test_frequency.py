"""The five parts: any sensible combination runs and streams, the others are refused by name."""

from functools import partial

import pytest
import torch

from rased.building import build
from rased.classes import OWN, STRANGERS
from rased.construction import spec_of
from rased.data.frames.file import Framing
from rased.errors import RasedError
from rased.layers.features import FEATURES
from rased.layers.targets import TARGETS, DeepFilter
from rased.models.base import Enhancer
from rased.models.dnn import DNN
from rased.models.frequency import (
    Features,
    FrequencyDomainEnhancer,
    Inputs,
    Phase,
    PostProcessing,
)
from rased.models.gcrn import GCRN
from rased.models.gru import NSNet2
from rased.models.lstm import LSTM
from rased.signal.stft import STFT

SMALL = STFT(n_fft=128, hop_length=64, win_length=128)
NETWORK = partial(NSNet2, hidden=8, layers=1, expansion=8)


def audio(time, seed=0):
    return 0.1 * torch.randn(2, time, generator=torch.Generator().manual_seed(seed))


def make(network=NETWORK, **parts):
    torch.manual_seed(0)
    target = parts.get("target", "ratio_mask")
    if isinstance(target, str) and TARGETS[target].phase == "predicted":
        parts.setdefault("phase", Phase(source="predicted"))
    enhancer = FrequencyDomainEnhancer(network, stft=SMALL, **parts).eval()
    if enhancer.needs_statistics:
        enhancer.fit_statistics([(audio(4_000), audio(4_000, seed=1))])
    return enhancer


@torch.no_grad()
def stream(enhancer, noisy):
    chunk, latency, time = enhancer.chunk_length, enhancer.latency, noisy.shape[-1]
    chunks = -(-(time + latency) // chunk)
    padded = torch.nn.functional.pad(noisy, (0, chunks * chunk - time))
    state, outputs = enhancer.initial_state(batch=noisy.shape[0]), []
    for part in padded.split(chunk, dim=-1):
        output, state = enhancer.step(part, state)
        outputs.append(output)
    return torch.cat(outputs, dim=-1)[:, latency : latency + time]


@torch.no_grad()
def assert_enhances(enhancer):
    noisy = audio(800, seed=2)
    estimate = enhancer(noisy)
    assert estimate.shape == noisy.shape
    assert estimate.isfinite().all()
    if enhancer.causal:
        torch.testing.assert_close(stream(enhancer, noisy), estimate, rtol=0, atol=1e-4)


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("target", TARGETS)
def test_any_feature_with_any_target(feature, target):
    inputs = Inputs("running" if FEATURES[feature].learned else "global")
    features = Features(kinds=(feature,), bands=12, coefficients=6)
    assert_enhances(make(features=features, inputs=inputs, target=target))


@pytest.mark.parametrize("kinds", [("complex",), ("compressed_complex",), ("magnitude",)])
@pytest.mark.parametrize("future", [0, 2])
def test_a_running_level_of_one_streams(kinds, future):
    inputs = Inputs(normalisation="running_unit", future_frames=future)
    assert_enhances(make(inputs=inputs, features=Features(kinds)))


@pytest.mark.parametrize(
    "normalisation", ["none", "global", "utterance", "running", "running_mean"]
)
@pytest.mark.parametrize("noise", ["none", "static", "dynamic"])
@pytest.mark.parametrize(("past", "future"), [(0, 0), (2, 0), (2, 2), (0, 3)])
def test_any_input_with_any_context(normalisation, noise, past, future):
    inputs = Inputs(
        normalisation=normalisation, noise=noise, past_frames=past, future_frames=future
    )
    enhancer = make(inputs=inputs, target="log_power", features=Features(("log_power", "log_mel")))
    assert_enhances(enhancer)
    if normalisation == "utterance":
        assert enhancer.latency is None
    else:
        assert enhancer.latency == 64 + 64 * future


@pytest.mark.parametrize("future", [0, 2])
def test_each_frame_of_context_ahead_is_heard_and_none_more(future):
    enhancer = make(inputs=Inputs(future_frames=future, past_frames=1), target="magnitude")
    noisy, now = audio(1_920), 960
    changed = noisy.clone()
    changed[:, now:] = 0
    with torch.no_grad():
        difference = (enhancer(noisy) - enhancer(changed)).abs().amax(0)
    assert difference[: now - enhancer.latency].max() <= 1e-6
    assert difference[now - enhancer.latency : now - enhancer.latency + 64].max() > 1e-5


@pytest.mark.parametrize(
    "network",
    [
        partial(LSTM, hidden=6, layers=2),
        partial(LSTM, hidden=6, bidirectional=True),
        partial(DNN, hidden=9, layers=2),
    ],
)
def test_any_network(network):
    assert_enhances(make(network, inputs=Inputs(past_frames=1)))


@pytest.mark.parametrize("future", [1, 2])
def test_a_deep_filter_of_any_extent_streams_and_hears_no_more_than_its_latency(future):
    """Also with less future than the inputs have."""
    filter_ = {"past_frames": 2, "future_frames": 1, "neighbours": 1}
    spec = spec_of(make(inputs=Inputs("none", future_frames=future), target="deep_filter"))
    spec["init_args"]["target"] = {
        "class_path": "rased.layers.targets.DeepFilter",
        "init_args": filter_,
    }
    enhancer = build(Enhancer, spec, classes=OWN).eval()
    assert enhancer.meaning.size(65) == 2 * 4 * 3 * 65
    assert enhancer.latency == 64 + 64 * future
    assert_enhances(enhancer)
    noisy = audio(1_920)
    changed = noisy.clone()
    changed[:, 960:] = 0
    with torch.no_grad():
        difference = (enhancer(noisy) - enhancer(changed)).abs().amax(0)
    assert difference[: 960 - enhancer.latency].max() <= 1e-6
    assert not enhancer(torch.zeros(1, 900)).any()


def test_gcrn_maps_complex_to_complex_and_says_so_otherwise():
    gcrn = partial(GCRN, channels=(2, 4, 4))
    complex_features = Features(("complex",))
    assert_enhances(make(gcrn, features=complex_features, target="complex"))
    assert_enhances(make(gcrn, features=complex_features, target="complex_mask"))
    with pytest.raises(RasedError, match="GCRN maps complex spectra to complex spectra"):
        make(gcrn)
    with pytest.raises(RasedError, match="too many for 65 bins"):
        make(partial(GCRN, channels=(2,) * 9), features=complex_features, target="complex")


def test_statistics_make_the_training_data_standard_and_travel_with_the_weights():
    enhancer = make(inputs=Inputs(normalisation="none"), target="ratio_mask")
    assert not enhancer.needs_statistics
    enhancer = FrequencyDomainEnhancer(NETWORK, stft=SMALL, target="log_power")
    assert enhancer.needs_statistics
    pairs = [(audio(3_000, seed=s), 3 * audio(3_000, seed=s + 9)) for s in range(4)]
    enhancer.fit_statistics(iter(pairs))
    assert not enhancer.needs_statistics
    seen = torch.cat(
        [
            enhancer.inputs.normalise(enhancer.extraction(SMALL.analysis(n)), {})[0]
            for n, _ in pairs
        ],
        dim=-1,
    )
    ideal = torch.cat([enhancer.ideal("output", noisy=n, target=t) for n, t in pairs], dim=-1)
    for values in (seen, ideal):
        torch.testing.assert_close(values.mean((0, 2)), torch.zeros(65), rtol=0, atol=1e-3)
        torch.testing.assert_close(values.std((0, 2)), torch.ones(65), rtol=0, atol=1e-2)
    again = FrequencyDomainEnhancer(NETWORK, stft=SMALL, target="log_power")
    again.load_state_dict(enhancer.state_dict())
    assert not again.needs_statistics
    assert torch.equal(again.inputs.mean, enhancer.inputs.mean)
    with pytest.raises(RasedError, match="got no batch"):
        FrequencyDomainEnhancer(NETWORK).fit_statistics([])


@pytest.mark.parametrize("target", TARGETS)
def test_the_output_of_a_prediction_is_comparable_with_the_ideal_one(target):
    enhancer = make(target=target, inputs=Inputs(future_frames=1))
    noisy, clean = audio(1_000), audio(1_000, seed=1)
    prediction = enhancer.predict(noisy)
    ideal = enhancer.ideal("output", noisy=noisy, target=clean)
    assert prediction.output.shape == ideal.shape
    assert prediction.output.dtype == ideal.dtype
    assert prediction.spectrum.shape == prediction.noisy_spectrum.shape
    assert (prediction.mask is not None) == (target.endswith("mask") or target == "prior_snr")


@pytest.mark.parametrize("target", ["log_power", "complex", "compressed_complex"])
def test_the_ideal_output_means_the_target(target):
    enhancer = make(target=target)
    noisy, clean = audio(1_000), audio(1_000, seed=1)
    ideal = enhancer.ideal("output", noisy=noisy, target=clean)
    if ideal.is_complex():
        ideal = torch.cat([ideal.real, ideal.imag], dim=1)
    meant = enhancer.interpret(ideal, SMALL.analysis(noisy)).spectrum
    wanted = SMALL.analysis(clean)
    torch.testing.assert_close(meant.abs(), wanted.abs(), rtol=1e-3, atol=1e-3)
    phase_of = wanted if target != "log_power" else SMALL.analysis(noisy)
    loud = wanted.abs() > 0.01
    torch.testing.assert_close(
        (meant / meant.abs())[loud], (phase_of / phase_of.abs())[loud], rtol=0, atol=1e-2
    )


@pytest.mark.parametrize(
    "target", [name for name in TARGETS if TARGETS[name].phase == "noisy" or name.endswith("mask")]
)  # complex mappings have biases of their own
def test_silence_stays_silent(target):
    assert make(target=target)(torch.zeros(1, 900)).abs().max() < 1e-6


def test_the_attenuation_limit_is_kept():
    enhancer = make(post_processing=PostProcessing(attenuation_limit_db=12.0))
    torch.nn.init.zeros_(enhancer.network.decoder[-1].weight)
    torch.nn.init.constant_(enhancer.network.decoder[-1].bias, -100.0)  # a mask of zero
    noisy = audio(1_000)
    torch.testing.assert_close(enhancer(noisy), 10 ** (-12 / 20) * noisy, rtol=0, atol=1e-5)


def test_no_bin_falls_below_the_floor_and_louder_ones_stay():
    noisy = SMALL.analysis(audio(1_000))
    estimate = noisy * torch.rand(noisy.shape, generator=torch.Generator().manual_seed(0))
    found = PostProcessing(floor_db=6.0)(estimate, noisy)
    quiet = estimate.abs() < 10 ** (-6 / 20) * noisy.abs()
    assert torch.equal(found[~quiet], estimate[~quiet])
    torch.testing.assert_close(found[quiet], 10 ** (-6 / 20) * noisy[quiet])
    assert bool(quiet.any())
    assert bool((~quiet).any())


def test_griffin_lim_needs_the_whole_utterance_and_changes_only_the_phase():
    plain, refined = make(), make(phase=Phase(griffin_lim_iterations=4))
    assert refined.latency is None
    noisy = audio(2_000)
    first, second = plain.predict(noisy), refined.predict(noisy)
    torch.testing.assert_close(first.spectrum.abs(), second.spectrum.abs(), rtol=0, atol=1e-4)
    assert (first.estimate - second.estimate).abs().max() > 1e-3


@pytest.mark.parametrize(
    "stft",
    [
        STFT(128, 64, 128, pad_mode="reflect"),
        STFT(128, 64, 128, pad_mode="centred"),
        STFT(128, 48, 120, "hann", pad_mode="centred"),
        STFT(128, 40, 100, "hamming", pad_mode="centred"),
        STFT(127, 50, 101, "hann", pad_mode="centred"),
    ],
)
def test_a_transform_that_mirrors_the_ends_streams_with_silence_there(stft):
    torch.manual_seed(0)
    enhancer = FrequencyDomainEnhancer(
        NETWORK, stft=stft, inputs=Inputs(normalisation="none", future_frames=1)
    ).eval()
    assert enhancer.causal
    assert enhancer.mirrors
    noisy = torch.nn.functional.pad(audio(3_000), (1_000, 1_000))
    whole = enhancer(noisy).detach()
    torch.testing.assert_close(stream(enhancer, noisy), whole, rtol=0, atol=1e-5)


def test_consistency_changes_what_losses_see_and_not_what_is_heard():
    plain, consistent = make(), make(phase=Phase(consistent=True))
    noisy = audio(2_000)
    first, second = plain.predict(noisy), consistent.predict(noisy)
    assert torch.equal(first.estimate, second.estimate)
    heard = SMALL.analysis(second.estimate)
    torch.testing.assert_close(second.spectrum, heard, rtol=0, atol=1e-4)
    assert (first.spectrum - heard).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"target": "complex", "phase": Phase()}, "contains its own phase"),
        ({"target": "complex_mask", "phase": Phase()}, "source: predicted"),
        ({"phase": Phase(source="predicted")}, "contains no phase"),
        (
            {"target": DeepFilter(future_frames=2), "phase": Phase(source="predicted")},
            r"filters 2 future frames.*write inputs: \{future_frames: 2\}",
        ),
        (
            {"features": Features(("complex",)), "inputs": Inputs(noise="static")},
            "which complex features do not have",
        ),
        (
            {"features": Features(("magnitude",)), "inputs": Inputs(noise="dynamic")},
            "in the log domain",
        ),
    ],
)
def test_nonsense_is_refused_with_what_to_write(parts, sentence):
    with pytest.raises(RasedError, match=sentence):
        make(**parts)


@pytest.mark.parametrize(
    ("part", "arguments", "sentence"),
    [
        (Features, {"kinds": ()}, "at least one kind"),
        (Features, {"bands": 10, "coefficients": 13}, "1 <= coefficients <= bands"),
        (Inputs, {"past_frames": -1}, "past_frames -1"),
        (DeepFilter, {"span": 4}, "span 4 an odd number"),
        (DeepFilter, {"neighbours": -1}, "must be at least 0"),
        (Inputs, {"seconds": 0.0}, "seconds 0.0"),
    ],
)
def test_a_part_that_makes_no_sense_alone_is_refused(part, arguments, sentence):
    with pytest.raises(RasedError, match=sentence):
        part(**arguments)


def test_every_part_is_one_line_of_a_configuration():
    spec = {
        "class_path": "rased.models.frequency.FrequencyDomainEnhancer",
        "init_args": {
            "features": {"kinds": ["log_mel", "mfcc"], "bands": 24, "coefficients": 12},
            "inputs": {"normalisation": "running", "past_frames": 2, "noise": "static"},
            "network": {"class_path": "rased.models.lstm.LSTM", "init_args": {"hidden": 16}},
            "target": "complex_mask",
            "phase": {"source": "predicted", "consistent": True},
            "post_processing": {"attenuation_limit_db": 20},
            "stft": {"n_fft": 256, "hop_length": 128, "win_length": 256},
        },
    }
    enhancer = build(Enhancer, spec, classes=STRANGERS).eval()
    assert enhancer.inputs.outputs == 36 * 4 - 36 + 36
    assert_enhances(enhancer)
    assert "Erdogan" in enhancer.paper


def test_a_learned_filterbank_begins_as_mel_bands_and_learns():
    """And is the only feature with weights; a file of frames cannot store it."""
    features = Features(("learned", "log_mel"), bands=12, coefficients=6)
    enhancer = make(features=features, inputs=Inputs(normalisation="running_mean")).train()
    spectrum = SMALL.analysis(audio(2_000))
    learned, mel = enhancer.extraction(spectrum).chunk(2, dim=1)
    assert float((learned - mel).detach().abs().mean()) < 0.1
    (weights,) = enhancer.extraction.parameters()
    before = weights.detach().clone()
    optimizer = torch.optim.Adam(enhancer.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (enhancer(audio(1_000)) - audio(1_000, seed=1)).square().mean().backward()
        assert weights.grad.abs().sum() > 0
        optimizer.step()
    assert not torch.equal(weights, before)
    moved = (enhancer.extraction(spectrum)[:, :12] - learned).detach().abs().max()
    assert float(moved) > 1e-4
    assert [*make().extraction.parameters()] == []
    with pytest.raises(RasedError, match="'learned' is learned with a network"):
        Framing(features, SMALL, 16_000)


def test_only_a_log_power_can_be_a_residual():
    for target in TARGETS:
        if target != "log_power":
            with pytest.raises(RasedError, match="residual needs the target log_power"):
                make(target=target, residual=True)
