"""Our models with the authors' seeded weights, on what the authors' were run on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from rased.building import build
from rased.config import config_folder, load_yaml
from rased.models.base import Enhancer
from rased.models.bsrnn import BSRNN
from rased.models.conv_tasnet import ConvTasNet
from rased.models.demucs import Demucs
from rased.models.dprnn import DPRNN
from rased.models.gtcrn import GTCRN
from rased.models.registry import create_model
from rased.models.segan import SEGAN
from rased.models.wave_u_net import WaveUNet
from rased.signal.features import complex_parts
from rased.signal.stft import STFT
from rased.zoo.importers.fastenhancer import convert as convert_fastenhancer
from rased.zoo.importers.gtcrn import convert as convert_gtcrn
from rased.zoo.importers.ulunas import convert as convert_ul_unas
from tests.models.parity import (
    attenuate,
    cmgan,
    dcunet,
    deepfilternet3,
    dpt_fsnet,
    frcrn,
    fullsubnet,
    fullsubnet_plus,
    mp_senet,
    phasen,
    rnnoise,
    semamba,
    sepformer,
    tf_gridnet,
    weights,
)
from tests.models.parity.theirs import Shapes, load, seeded_state

_SMALL = {"enc_dim": 64, "feature_dim": 16, "layer": 4, "stack": 2}
CONV_TASNET: dict[str, dict[str, Any]] = {
    "global": {**_SMALL, "num_spk": 1, "causal": False},
    "cumulative": {**_SMALL, "num_spk": 1, "causal": True},
    "two": {**_SMALL, "num_spk": 2, "causal": False},
    "paper": {"sr": 8_000, "num_spk": 2, "causal": False},
}
"""Arguments of the authors' TasNet."""


def conv_tasnet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """All sources of each kind."""
    found = {}
    for kind, settings in CONV_TASNET.items():
        channels = settings.get("feature_dim", 128)
        model = ConvTasNet(
            filters=settings.get("enc_dim", 512),
            filter_length=settings.get("sr", 16_000) // 500,
            bottleneck=channels,
            hidden=4 * channels,
            skip=channels,
            blocks=settings.get("layer", 8),
            repeats=settings.get("stack", 3),
            sources=settings["num_spk"],
            causal=settings["causal"],
        ).eval()
        own = seeded_state(shapes, kind)
        model.load_state_dict(weights.conv_tasnet(own))
        found[kind] = model.separate(tensors["noisy"])
    return found


BSRNN_STFT = STFT(n_fft=960, hop_length=480, win_length=960)
BSRNN_SHOWN = (..., slice(None, None, 3), slice(None))
"""Bins that are kept of (frames, freq, part)."""


def bsrnn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """48 kHz, both ways with norms of the utterance, and forwards with norms of a frame."""
    parts = complex_parts(BSRNN_STFT.analysis(tensors["noisy"]))
    frames, found = rearrange(parts, "batch number frames -> batch frames number"), {}
    for scope in ("utterance", "frame"):
        size, both = frames.shape[-1], scope == "utterance"
        settings: dict[str, Any] = {"channels": 8, "layers": 2, "sample_rate": 48_000}
        model = BSRNN(size, size, bidirectional=both, norm=scope, **settings).eval()  # type: ignore[arg-type]
        own = seeded_state(shapes, scope)
        model.load_state_dict(weights.bsrnn(own))
        output, _ = model(frames, model.initial_state(2, frames))
        spectrum = rearrange(output, "batch frames (part freq) -> batch frames freq part", part=2)
        found[scope] = spectrum[BSRNN_SHOWN]
    return found


CRN_FRAMES = slice(5, None)
"""The frames that do not see the zeros which the authors' decoder starts with."""


def crn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/crn.yaml, but with the level of the whole utterance."""
    model: Any = create_model("crn", level={"running": False}).eval()
    load(model.network, weights.crn(seeded_state(shapes)))
    magnitude = model.predict(tensors["noisy"]).output
    return {
        "magnitude": rearrange(magnitude, "batch freq frames -> batch frames freq")[:, CRN_FRAMES]
    }


def dccrn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/dccrn.yaml, but with the authors' look-ahead."""
    model: Any = create_model("dccrn", lookahead=True).eval()
    own = seeded_state(shapes)
    missing = model.network.load_state_dict(weights.dccrn(own), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    spectrum = torch.view_as_real(model.predict(tensors["noisy"]).spectrum)
    return {"spectrum": rearrange(spectrum, "n f t part -> n part f t")[..., ::3, :].contiguous()}


DEMUCS: dict[str, dict[str, Any]] = {
    "alone": {"causal": True},
    "stream": {"causal": True},
    "both ways": {"causal": False, "stride": 2, "resample": 2},
}
"""Arguments of the authors' Demucs."""
DEMUCS_SILENCE = {"stream": (425, 1_200)}
"""Samples of silence before the recording, as a stream of ours hears it, and behind."""


def demucs(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """A recording alone, and the stream, without a level."""
    found = {}
    for kind, settings in DEMUCS.items():
        model = Demucs(**settings, channels=4, level=None).eval()
        model.load_state_dict(weights.demucs(seeded_state(shapes, kind)))
        found[kind] = model(tensors["noisy"]) if kind == "stream" else model.whole(tensors["noisy"])
    return found


def dpcrn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """The network of configs/model/dpcrn.yaml on whole windows alone."""
    spec = load_yaml(config_folder() / "model" / "dpcrn.yaml")["model"]["init_args"]["enhancer"]
    model: Any = build(Enhancer, spec).eval()
    own = seeded_state(shapes)
    missing = model.network.load_state_dict(weights.dpcrn(own), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    before = model.stft.latency // model.stft.hop_length
    spectrum = model.stft.analysis(tensors["noisy"])[..., before:-before]
    prediction, _ = model.process(spectrum, model.initial_process_state(len(spectrum)))
    return {
        "spectrum": rearrange(torch.view_as_real(prediction.spectrum), "n f t part -> n t f part")
    }


def dprnn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Waveform to waveform."""
    model = DPRNN(filters=16, channels=16, hidden=8, segment=20, repeats=2).eval()
    model.load_state_dict(weights.dprnn(seeded_state(shapes)))
    return {"estimate": model(tensors["noisy"])}


def dual_path(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Segments through the LSTMs of DPRNN and what joins them."""
    model = DPRNN(filters=16, channels=16, hidden=8, segment=20, repeats=2).eval()
    parts = {"paths": model.paths, "joined": model.joined}
    nn.ModuleDict(parts).load_state_dict(weights.dual_path(seeded_state(shapes)))
    segments = rearrange(tensors["segments"], "n c segment many -> segment n many c")
    for path in model.paths:
        segments, _ = path(segments, {})
    output = rearrange(model.joined(segments), "segment n many c -> n c segment many")
    return {"output": output.contiguous()}


FASTENHANCER = ("t", "b", "s", "m", "l")
"""The sizes that the authors publish."""


def fastenhancer(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/fastenhancer-SIZE.yaml, but with the centred transform; and the bands of a fresh one."""
    found = {}
    for size in FASTENHANCER:
        model = create_model(f"fastenhancer-{size}", stft={"pad_mode": "centred"}).eval()
        found[f"{size}/bands"] = model.compress.weights.clone()  # type: ignore[union-attr]
        own = seeded_state(shapes, size)
        missing = model.load_state_dict(convert_fastenhancer(own), strict=False)
        assert not missing.unexpected_keys
        assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
        found[size] = model(tensors["noisy"])[:, : tensors[size].shape[-1]]  # theirs ends at a hop
    return found


def fcn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/fcn.yaml, brought to full scale as theirs is."""
    model = create_model("fcn").eval()
    model.load_state_dict(weights.fcn(seeded_state(shapes)))
    noisy = tensors["noisy"]
    return {"estimate": model(noisy) / noisy.abs().amax(-1, keepdim=True)}


def gcrn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/gcrn.yaml, but with the level of the whole utterance."""
    model: Any = create_model("gcrn", level={"running": False}).eval()
    load(model.network, weights.gcrn(seeded_state(shapes)))
    prediction = model.predict(tensors["noisy"])
    parts = torch.view_as_real(prediction.output)
    spectrum = rearrange(parts, "batch freq frames part -> batch part frames freq")
    return {"estimate": prediction.estimate, "spectrum": spectrum}


def gtcrn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Spectrum to spectrum, a third of the bins; and the ERB filters of a fresh network."""
    erb, model = GTCRN().erb, GTCRN().eval()
    load(model, convert_gtcrn(seeded_state(shapes)))
    spectrum = of_gtcrn(tensors["noisy"])
    prediction, _ = model.process(spectrum, model.initial_process_state(len(spectrum)))
    return {
        "spectrum": torch.view_as_real(prediction.spectrum)[:, ::3],
        "analysis": erb.analysis.detach(),
        "synthesis": erb.synthesis.detach(),
    }


def of_gtcrn(noisy: Tensor) -> Tensor:
    """The authors' transform."""
    window = torch.hann_window(512).sqrt()
    return torch.stft(noisy, 512, 256, window=window, return_complex=True)


def lisennet(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/lisennet.yaml on a spectrum of torch.stft; a third of the bins."""
    model: Any = create_model("lisennet").eval()
    own = seeded_state(shapes)
    model.network.load_state_dict(weights.lisennet(own))
    window = torch.hann_window(512)
    spectrum = torch.stft(tensors["noisy"], 512, 256, window=window, return_complex=True)
    prediction, _ = model.process(spectrum, model.initial_process_state(len(spectrum)))
    return {"magnitude": prediction.spectrum.abs()[:, ::3].contiguous()}


SEGAN_CHANNELS = [4, 8, 8, 16, 16]


def segan(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """The layers alone."""
    model = SEGAN(channels=SEGAN_CHANNELS, noise=16).eval()
    model.load_state_dict(weights.segan(seeded_state(shapes)))
    return {"estimate": model.generate(tensors["noisy"], tensors["drawn"])}


TCNN_FRAMES = slice(7, None)
"""The frames that do not see the blank ones which the decoder of the recorded code starts with."""


def tcnn(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Frames to frames; biases that theirs does not have are zero."""
    model: Any = create_model("tcnn").eval()
    own = weights.tcnn(seeded_state(shapes))
    for name in model.load_state_dict(own, strict=False).missing_keys:
        assert name.endswith(("depthwise.bias", "reduce.2.bias", "num_batches_tracked"))
        model.state_dict()[name].zero_()
    enhanced, _ = model.enhance_frames(tensors["frames"], model.initial_state(2))
    return {"enhanced": enhanced[:, TCNN_FRAMES]}


def ul_unas(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """configs/model/ul-unas.yaml, but with the centred transform."""
    model = create_model("ul-unas", stft={"pad_mode": "centred"}).eval()
    own = seeded_state(shapes)
    missing = model.load_state_dict(convert_ul_unas(own), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    return {"estimate": model(tensors["noisy"])}


WAVE_U_NET = {"layers": 5, "filters": 6}


def wave_u_net(tensors: Mapping[str, Tensor], shapes: Shapes) -> dict[str, Tensor]:
    """Noise and speech."""
    model = WaveUNet(**WAVE_U_NET, sources=2).eval()
    model.load_state_dict(weights.wave_u_net(seeded_state(shapes), WAVE_U_NET["layers"]))
    return {"sources": model.separate(tensors["noisy"])}


OURS: dict[str, Callable[[Mapping[str, Tensor], Shapes], dict[str, Tensor]]] = {
    "attenuate": torch.no_grad()(attenuate.our_attenuate),
    "bsrnn": torch.no_grad()(bsrnn),
    "cmgan": torch.no_grad()(cmgan.our_cmgan),
    "conv-tasnet": torch.no_grad()(conv_tasnet),
    "crn": torch.no_grad()(crn),
    "dccrn": torch.no_grad()(dccrn),
    "dcunet": torch.no_grad()(dcunet.our_dcunet),
    "deepfilternet3": torch.no_grad()(deepfilternet3.our_deepfilternet3),
    "demucs": torch.no_grad()(demucs),
    "dpcrn": torch.no_grad()(dpcrn),
    "dprnn": torch.no_grad()(dprnn),
    "dpt-fsnet": torch.no_grad()(dpt_fsnet.our_dpt_fsnet),
    "dual-path": torch.no_grad()(dual_path),
    "fastenhancer": torch.no_grad()(fastenhancer),
    "fcn": torch.no_grad()(fcn),
    "frcrn": torch.no_grad()(frcrn.our_frcrn),
    "fullsubnet": torch.no_grad()(fullsubnet.our_fullsubnet),
    "fullsubnet-plus": torch.no_grad()(fullsubnet_plus.our_fullsubnet_plus),
    "gcrn": torch.no_grad()(gcrn),
    "gtcrn": gtcrn,
    "lisennet": torch.no_grad()(lisennet),
    "mp-senet": torch.no_grad()(mp_senet.our_mp_senet),
    "phasen": torch.no_grad()(phasen.our_phasen),
    "rnnoise": torch.no_grad()(rnnoise.our_rnnoise),
    "segan": torch.no_grad()(segan),
    "semamba": torch.no_grad()(semamba.our_semamba),
    "sepformer": torch.no_grad()(sepformer.our_sepformer),
    "tcnn": torch.no_grad()(tcnn),
    "tf-gridnet": torch.no_grad()(tf_gridnet.our_tf_gridnet),
    "ul-unas": torch.no_grad()(ul_unas),
    "wave-u-net": torch.no_grad()(wave_u_net),
}
