"""Run the authors' modules on seeded weights and keep what they put out.

    python -m tests.models.parity.record attenuate FOLDER      # a checkout of Brainchip-Inc/aTENNuate
    python -m tests.models.parity.record bsrnn FOLDER          # the release of espnet on PyPI, unpacked
    python -m tests.models.parity.record cmgan FOLDER          # of ruizhecao96/CMGAN
    python -m tests.models.parity.record conv-tasnet FOLDER    # a checkout of naplab/Conv-TasNet
    python -m tests.models.parity.record crn FOLDER            # of JupiterEthan/CRN-causal
    python -m tests.models.parity.record dccrn FOLDER          # of huyanxin/DeepComplexCRN
    python -m tests.models.parity.record demucs FOLDER         # of facebookresearch/denoiser
    python -m tests.models.parity.record dcunet FOLDER         # of asteroid-team/asteroid
    python -m tests.models.parity.record deepfilternet3 FOLDER # of Rikorose/DeepFilterNet, with DeepFilterLib 0.5.6
    python -m tests.models.parity.record dpcrn FOLDER          # of Le-Xiaohuai-speech/DPCRN_DNS3; TENSORFLOW names
                                                               # a Python that has TensorFlow 2.15
    python -m tests.models.parity.record dprnn FOLDER          # wheels of asteroid and asteroid_filterbanks on PyPI
    python -m tests.models.parity.record dual-path FOLDER      # of yluo42/TAC
    python -m tests.models.parity.record dpt-fsnet FOLDER      # of dangf15/DPT-FSNet
    python -m tests.models.parity.record fastenhancer FOLDER   # of aask1357/fastenhancer, with librosa in the venv
    python -m tests.models.parity.record fcn FOLDER            # of JasonSWFu/End-to-end-waveform-utterance-enhancement
    python -m tests.models.parity.record frcrn FOLDER          # of modelscope/ClearerVoice-Studio
    python -m tests.models.parity.record fullsubnet FOLDER     # of Audio-WestlakeU/FullSubNet
    python -m tests.models.parity.record fullsubnet-plus FOLDER # of RookieJunChen/FullSubNet-plus
    python -m tests.models.parity.record gcrn FOLDER           # of JupiterEthan/GCRN-complex
    python -m tests.models.parity.record lisennet FOLDER       # of hyyan2k/LiSenNet
    python -m tests.models.parity.record gtcrn FOLDER          # of Xiaobin-Rong/gtcrn
    python -m tests.models.parity.record mp-senet FOLDER       # of yxlu-0102/MP-SENet
    python -m tests.models.parity.record phasen FOLDER         # of huyanxin/phasen
    python -m tests.models.parity.record rnnoise FOLDER        # of xiph/rnnoise, with pyrnnoise 0.4.5 in the venv
    python -m tests.models.parity.record segan FOLDER          # of santi-pdp/segan_pytorch
    python -m tests.models.parity.record semamba FOLDER        # of RoyChao19477/SEMamba
    python -m tests.models.parity.record sepformer FOLDER      # the wheel of speechbrain on PyPI, unpacked
    python -m tests.models.parity.record tcnn FOLDER           # of LXP-Never/TCNN
    python -m tests.models.parity.record tf-gridnet FOLDER     # the release of espnet on PyPI, unpacked
    python -m tests.models.parity.record ul-unas FOLDER        # of Xiaobin-Rong/ul-unas
    python -m tests.models.parity.record wave-u-net FOLDER     # of craigmacartney/Wave-U-Net-For-Speech-Enhancement;
                                                               # TENSORFLOW as for dpcrn

Writes NAME.safetensors beside this file, with source, commit, versions and the largest difference to ours in its
metadata, and the table of `rased models`. Their code runs in this process: look at it first.
"""

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import scipy.signal
import torch
from einops import rearrange
from torch import Tensor, nn

from rased.config import load_yaml
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
    ours,
    phasen,
    rnnoise,
    semamba,
    sepformer,
    table,
    tf_gridnet,
)
from tests.models.parity.theirs import Recorded, packages
from tests.models.parity.weights import after_a_click, fill, of_keras, seeded, sound

HERE = Path(__file__).parent


def main(name: str, folder: str) -> None:
    """Record one architecture."""
    source, commit, record = SOURCES[name]
    with torch.no_grad():
        inputs, outputs, state = record(Path(folder))
        tensors = {**inputs, **outputs}
        shapes = {
            key: list(value.shape) for key, value in state.items() if value.is_floating_point()
        }
        difference = max(
            float((found - outputs[key]).abs().max())
            for key, found in ours.OURS[name](tensors, shapes).items()
        )
    metadata = {
        "source": f"https://github.com/{source}",
        "commit": commit,
        "versions": f"torch {torch.__version__}, numpy {np.__version__}",
        "largest_difference": f"{difference:.2g}",
        "shapes": json.dumps(shapes),
    }
    safetensors.torch.save_file(tensors, HERE / f"{name}.safetensors", metadata)
    table.write()
    print(name, metadata["source"], commit, metadata["versions"], f"{difference:.2g}")


def bsrnn(folder: Path) -> Recorded:
    """Both ways with norms of the utterance, and forwards with norms of a frame; the layers alone are imported."""
    packages(folder, "espnet2", "espnet2.enh", "espnet2.enh.layers")
    sys.modules.setdefault("librosa", types.ModuleType("librosa"))  # for other bands
    network = importlib.import_module("espnet2.enh.layers.bsrnn").BSRNN
    noisy, outputs, state = sound(4_000), {}, {}
    spectrum = rearrange(ours.BSRNN_STFT.analysis(noisy), "batch freq frames -> batch frames freq")
    for scope, norm in (("utterance", "GN"), ("frame", "cfLN")):
        theirs = network(
            481, num_channel=8, num_layer=2, causal=scope == "frame", norm_type=norm
        ).eval()
        theirs.load_state_dict(fill(theirs.state_dict()))
        heard = theirs(torch.view_as_real(spectrum.contiguous()))[:, 0]
        outputs[scope] = heard[ours.BSRNN_SHOWN].contiguous()
        state |= {f"{scope}/{key}": value for key, value in theirs.state_dict().items()}
    return {"noisy": noisy}, outputs, state


def conv_tasnet(folder: Path) -> Recorded:
    """Global and cumulative norms, one and two sources."""
    sys.path.insert(0, str(folder.parent))
    network = importlib.import_module(f"{folder.name}.conv_tasnet").TasNet
    noisy, outputs, state = sound(4_000), {}, {}
    for kind, settings in ours.CONV_TASNET.items():
        theirs = network(**settings).eval()
        theirs.load_state_dict(fill(theirs.state_dict()))
        outputs[kind] = theirs(noisy).contiguous()
        state |= {f"{kind}/{key}": value for key, value in theirs.state_dict().items()}
    return {"noisy": noisy}, outputs, state


def crn(folder: Path) -> Recorded:
    """The magnitude of a mixture at rms 1, behind the frames that see the zeros of the decoder's start."""
    network, pipeline = _of_tan(folder)
    network.load_state_dict(fill(network.state_dict()))
    noisy = sound(3_200)
    scale = (noisy.shape[-1] / noisy.square().sum(-1, keepdim=True)).sqrt()
    features, _ = pipeline.NetFeeder(torch.device("cpu"))(noisy * scale, noisy * scale)
    magnitude = network(features)[:, ours.CRN_FRAMES].contiguous()
    return {"noisy": noisy}, {"magnitude": magnitude}, network.state_dict()


def dccrn(folder: Path) -> Recorded:
    """DCCRN-CL, waveform to spectrum; a third of the bins.

    Their way back is the pseudo-inverse of the transform of 400 samples, which weighs the lowest and the highest bin
    otherwise than a Fourier transform. Nothing is silent: their magnitudes are at least 1e-4.
    """
    sys.path.insert(0, str(folder))
    network = importlib.import_module("dc_crn").DCCRN
    channels = [32, 64, 128, 256, 256, 256]
    theirs = network(rnn_units=256, use_clstm=True, kernel_num=channels).eval()
    state = {
        name: value
        for name, value in theirs.state_dict().items()
        if not name.startswith(("stft.", "istft."))
    }
    theirs.load_state_dict(fill(state), strict=False)
    noisy = sound(2_400) + 0.1 * sound(2_400).flip(0)
    spectrum = rearrange(
        theirs(noisy)[0], "batch (part freq) frames -> batch part freq frames", part=2
    )
    return {"noisy": noisy}, {"spectrum": spectrum[..., ::3, :].contiguous()}, state


def demucs(folder: Path) -> Recorded:
    """Without their level: a recording alone, forwards and both ways; and one with silence around it, forwards."""
    sys.path.insert(0, str(folder))
    network = importlib.import_module("denoiser.demucs").Demucs
    noisy, outputs, state = sound(1_800), {}, {}
    for kind, settings in ours.DEMUCS.items():
        before, behind = ours.DEMUCS_SILENCE.get(kind, (0, 0))
        theirs = network(**settings, hidden=4, normalize=False).eval()
        theirs.load_state_dict(fill(theirs.state_dict()))
        heard = theirs(torch.nn.functional.pad(noisy, (before, behind)))[:, 0]
        outputs[kind] = heard[:, before : before + noisy.shape[-1]].contiguous()
        state |= {f"{kind}/{key}": value for key, value in theirs.state_dict().items()}
    return {"noisy": noisy}, outputs, state


def dpcrn(folder: Path) -> Recorded:
    """The enhanced spectrum, from TensorFlow in a process of its own."""
    noisy = sound(2_000)
    parts, state = _of_tensorflow("keras_dpcrn.py", noisy, str(folder))
    spectrum = torch.from_numpy(np.stack([parts["real"], parts["imaginary"]], axis=-1))
    return {"noisy": noisy}, {"spectrum": spectrum}, state


def _of_tensorflow(
    script: str, noisy: Tensor, folder: str, *settings: str
) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """What a script puts out for seeded weights, and these by `of_keras`."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "arrays.npz")

        def call(**arrays: np.ndarray) -> dict[str, np.ndarray]:
            np.savez(file, noisy=noisy.numpy(), **arrays)  # type: ignore[arg-type]
            command = [os.environ["TENSORFLOW"], str(HERE / script), folder, str(file), *settings]
            subprocess.run(command, check=True)
            with np.load(file) as found:
                return {name: found[name] for name in found if name != "noisy"}

        shapes = {name: tuple(map(int, shape)) for name, shape in call().items()}
        state = {name: seeded(of_keras(name), shape) for name, shape in shapes.items()}
        parts = call(**{name: value.numpy() for name, value in state.items()})
    return parts, {of_keras(name): value for name, value in state.items()}


def dprnn(folder: Path) -> Recorded:
    """Waveform to waveform, one source; a length at which the last frame ends."""
    sys.path.insert(0, str(folder))
    packages(folder, "asteroid", "asteroid.models", "asteroid.losses")
    hub = sys.modules.setdefault("huggingface_hub", types.ModuleType("huggingface_hub"))
    hub.HUGGINGFACE_CO_URL_HOME = ""  # type: ignore[attr-defined]
    network = importlib.import_module("asteroid.models.dprnn_tasnet").DPRNNTasNet
    theirs = network(1, n_filters=16, bn_chan=16, hid_size=8, chunk_size=20, n_repeats=2).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_400)
    return {"noisy": noisy}, {"estimate": theirs(noisy)[:, 0].contiguous()}, theirs.state_dict()


def dual_path(folder: Path) -> Recorded:
    """The LSTMs alone, by the first author, on segments of noise."""
    sys.path.insert(0, str(folder))
    network = importlib.import_module("utility.models").DPRNN
    theirs = network("LSTM", 16, 8, 16, num_layers=2).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noise = rearrange(sound(1_600), "n (c many segment) -> n c segment many", c=16, segment=20)
    noise = noise.contiguous()
    return {"segments": noise}, {"output": theirs(noise).contiguous()}, theirs.state_dict()


def fastenhancer(folder: Path) -> Recorded:
    """All five sizes, waveform to waveform; the authors' `rf_pre_post_lin` and weight norms as in training."""
    sys.path.insert(0, str(folder))
    model = importlib.import_module("models.fastenhancer.default.model").Model
    noisy, outputs, state = sound(2_560), {}, {}
    for size in ours.FASTENHANCER:
        settings = load_yaml(folder / "configs" / "fastenhancer" / f"{size}.yaml")
        theirs = model(**settings["model_kwargs"]).eval()
        outputs[f"{size}/bands"] = theirs.rf_pre[0].weight.clone()
        theirs.load_state_dict(fill(theirs.state_dict()))
        outputs[size] = theirs(noisy)[0].contiguous()
        state |= {f"{size}/{key}": value for key, value in theirs.state_dict().items()}
    return {"noisy": noisy}, outputs, state


def fcn(folder: Path) -> Recorded:
    """Their lines that add the layers, with the layers of Keras 1.1 in PyTorch; one item at a time, as by them."""
    script = (folder / "Utterance_based_FCN_MSE.py").read_text()
    lines = [line for line in script.splitlines() if line.startswith("model.add(")]
    layers, sizes = nn.Sequential(), [1]

    def convolution(outputs: int, taps: int, border_mode: str, input_shape: Any = None) -> Any:
        sizes.append(outputs)
        return nn.Conv1d(sizes[-2], outputs, taps, padding=border_mode)

    def normalisation(mode: int, axis: int) -> Any:
        assert (mode, axis) == (
            2,
            -1,
        )  # by the mean and variance of what comes in, when it is tested as well
        return nn.BatchNorm1d(sizes[-1], track_running_stats=False)

    known = {
        "model": types.SimpleNamespace(add=layers.append),
        "Convolution1D": convolution,
        "BatchNormalization": normalisation,
        "LeakyReLU": lambda: nn.LeakyReLU(0.3),
        "Activation": {"tanh": nn.Tanh()}.__getitem__,
    }
    exec("\n".join(lines), known)
    layers.load_state_dict(fill(layers.state_dict()))
    noisy = sound(2_000)
    loud = noisy / noisy.abs().amax(-1, keepdim=True)
    estimate = torch.cat([layers(item[None, None])[:, 0] for item in loud])
    return {"noisy": noisy}, {"estimate": estimate}, layers.state_dict()


def gcrn(folder: Path) -> Recorded:
    """A mixture at rms 1 through transform, network and inverse, and back to its level.

    The authors divide by the window sum in an order that is not that of the samples: `estimate` is theirs to the
    0.3 % by which the sum of symmetric Hamming windows varies; `spectrum`, what the network puts out, is not touched.
    """
    network, pipeline = _of_tan(folder)
    network.load_state_dict(fill(network.state_dict()))
    noisy = sound(4_000)
    scale = (noisy.shape[-1] / noisy.square().sum(-1, keepdim=True)).sqrt()
    cpu = torch.device("cpu")
    features, _ = pipeline.NetFeeder(cpu)(noisy * scale, noisy * scale)
    mapped = network(features)
    estimate = pipeline.Resynthesizer(cpu)(mapped, noisy) / scale
    return {"noisy": noisy}, {"estimate": estimate, "spectrum": mapped}, network.state_dict()


def _of_tan(folder: Path) -> tuple[Any, Any]:
    """Network and transforms of a repository of JupiterEthan."""
    sys.path.insert(0, str(folder / "scripts"))
    hamming = scipy.signal.windows.hamming
    importlib.import_module("scipy").hamming = hamming  # where it was in the authors' SciPy
    network = importlib.import_module("utils.networks").Net().eval()
    return network, importlib.import_module("utils.pipeline_modules")


def gtcrn(folder: Path) -> Recorded:
    """Spectrum to spectrum; their two ERB matrices, which are one piece of memory, filled apart."""
    sys.path.insert(0, str(folder))
    theirs = importlib.import_module("gtcrn").GTCRN().eval()
    theirs.erb.ierb_fc.weight.data = theirs.erb.ierb_fc.weight.data.clone()
    weights = {"analysis": theirs.erb.erb_fc.weight, "synthesis": theirs.erb.ierb_fc.weight}
    fresh = {
        name: weight.detach().clone(memory_format=torch.contiguous_format)
        for name, weight in weights.items()
    }
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_560)
    estimate = theirs(torch.view_as_real(ours.of_gtcrn(noisy)))
    return (
        {"noisy": noisy},
        {"spectrum": estimate[:, ::3].contiguous(), **fresh},
        theirs.state_dict(),
    )


def lisennet(folder: Path) -> Recorded:
    """The magnitude before Griffin-Lim, expanded; a third of the bins.

    Ours gets the spectrum from the same transform: phases of symmetric frames lie on the edge where they wrap.
    """
    packages(folder, "model", "model.generator")
    for name in ("torchaudio", "torchaudio.functional"):
        sys.modules.setdefault(name, types.ModuleType(name))  # for their detector of noise
    sys.modules["torchaudio.functional"].melscale_fbanks = None  # type: ignore[attr-defined]
    theirs = importlib.import_module("model.generator.generator").LiSenNet().eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = after_a_click(sound(4_000) + 0.1 * sound(4_000).flip(0))
    magnitude = theirs(noisy)["est_mag"] ** (1 / 0.3)
    shown = rearrange(magnitude, "batch frames freq -> batch freq frames")[:, ::3]
    return {"noisy": noisy}, {"magnitude": shown.contiguous()}, theirs.state_dict()


def segan(folder: Path) -> Recorded:
    """The generator of SEGAN+, given what it is to draw; one item, for it has to be long."""
    packages(folder, "segan", "segan.models")
    for name in ("librosa", "tensorboardX"):
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.SummaryWriter = None  # type: ignore[attr-defined]
    network = importlib.import_module("segan.models.generator").Generator
    sizes = (ours.SEGAN_CHANNELS, 31, [4] * 5)
    theirs = network(1, *sizes, z_dim=16, skip_merge="concat", bias=True).eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(4_096)[:1]
    drawn = 10 * sound(32).reshape(1, 16, 4)
    estimate = theirs(noisy[:, None], drawn)[:, 0]
    return (
        {"noisy": noisy, "drawn": drawn},
        {"estimate": estimate.contiguous()},
        theirs.state_dict(),
    )


def tcnn(folder: Path) -> Recorded:
    """Frames to frames, loud enough for the norms, behind those that see the blank first ones of the decoder."""
    sys.path.insert(0, str(folder))
    theirs = importlib.import_module("TCNN_model_paper").TCNN().eval()
    theirs.load_state_dict(fill(theirs.state_dict()))
    frames = 30 * rearrange(sound(3_840), "n (frames length) -> n frames length", length=320)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints shapes
        enhanced = theirs(frames[:, None])[:, 0, ours.TCNN_FRAMES]
    return {"frames": frames}, {"enhanced": enhanced.contiguous()}, theirs.state_dict()


def ul_unas(folder: Path) -> Recorded:
    """Waveform to waveform; the two ERB matrices, which are one piece of memory there, filled apart."""
    sys.path.insert(0, str(folder))
    theirs = importlib.import_module("ulunas").ULUNAS().eval()
    theirs.erb.ierb_fc.weight.data = theirs.erb.ierb_fc.weight.data.clone()
    theirs.load_state_dict(fill(theirs.state_dict()))
    noisy = sound(2_560)
    return {"noisy": noisy}, {"estimate": theirs(noisy).contiguous()}, theirs.state_dict()


def wave_u_net(folder: Path) -> Recorded:
    """Noise and speech, from TensorFlow in a process of its own."""
    noisy, sizes = sound(1_024), ours.WAVE_U_NET
    settings = (str(sizes["layers"]), str(sizes["filters"]))
    parts, state = _of_tensorflow("tensorflow_wave_u_net.py", noisy, str(folder), *settings)
    return {"noisy": noisy}, {"sources": torch.from_numpy(parts["sources"])}, state


SOURCES: dict[str, tuple[str, str, Callable[[Path], Recorded]]] = {
    "attenuate": ("Brainchip-Inc/aTENNuate", "18492ed", attenuate.attenuate),
    "bsrnn": ("espnet/espnet", "v.202511", bsrnn),
    "cmgan": ("ruizhecao96/CMGAN", "3994600", cmgan.cmgan),
    "conv-tasnet": ("naplab/Conv-TasNet", "e66d82a", conv_tasnet),
    "crn": ("JupiterEthan/CRN-causal", "a50799a", crn),
    "dccrn": ("huyanxin/DeepComplexCRN", "2e20e12", dccrn),
    "dcunet": ("asteroid-team/asteroid", "92c8d83", dcunet.dcunet),
    "deepfilternet3": ("Rikorose/DeepFilterNet", "d375b2d", deepfilternet3.deepfilternet3),
    "demucs": ("facebookresearch/denoiser", "8afd7c1", demucs),
    "dpcrn": ("Le-Xiaohuai-speech/DPCRN_DNS3", "c7fe17d", dpcrn),
    "dprnn": ("asteroid-team/asteroid", "0.7.0", dprnn),
    "dpt-fsnet": ("dangf15/DPT-FSNet", "10cbda3", dpt_fsnet.dpt_fsnet),
    "dual-path": ("yluo42/TAC", "e3373b7", dual_path),
    "fastenhancer": ("aask1357/fastenhancer", "f6f51f1", fastenhancer),
    "fcn": ("JasonSWFu/End-to-end-waveform-utterance-enhancement", "9b6ab1a", fcn),
    "frcrn": ("modelscope/ClearerVoice-Studio", "6b3774d", frcrn.frcrn),
    "fullsubnet": ("Audio-WestlakeU/FullSubNet", "e974483", fullsubnet.fullsubnet),
    "fullsubnet-plus": (
        "RookieJunChen/FullSubNet-plus",
        "b115416",
        fullsubnet_plus.fullsubnet_plus,
    ),
    "gcrn": ("JupiterEthan/GCRN-complex", "cdce610", gcrn),
    "gtcrn": ("Xiaobin-Rong/gtcrn", "3862c44", gtcrn),
    "lisennet": ("hyyan2k/LiSenNet", "df4e481", lisennet),
    "mp-senet": ("yxlu-0102/MP-SENet", "89932cf", mp_senet.mp_senet),
    "phasen": ("huyanxin/phasen", "31ee2f1", phasen.phasen),
    "rnnoise": ("xiph/rnnoise", "70f1d25", rnnoise.rnnoise),
    "segan": ("santi-pdp/segan_pytorch", "0522387", segan),
    "semamba": ("RoyChao19477/SEMamba", "750ff5d", semamba.semamba),
    "sepformer": ("speechbrain/speechbrain", "1.0.3", sepformer.sepformer),
    "tcnn": ("LXP-Never/TCNN", "2dcc740", tcnn),
    "tf-gridnet": ("espnet/espnet", "v.202511", tf_gridnet.tf_gridnet),
    "ul-unas": ("Xiaobin-Rong/ul-unas", "00f7c70", ul_unas),
    "wave-u-net": ("craigmacartney/Wave-U-Net-For-Speech-Enhancement", "c8ccbd2", wave_u_net),
}

if __name__ == "__main__":
    main(*sys.argv[1:])
