"""Weights that follow from their names: the same for the authors' module and, renamed, for ours."""

import re
import zlib

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from rased.zoo.importers.checkpoint import renamed


def seeded(name: str, shape: tuple[int, ...]) -> Tensor:
    """Normal numbers of a size that keeps signals alive; what scales or divides lies near 1."""
    random = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))
    values = random.standard_normal(shape).astype(np.float32)
    if len(shape) > 1 and max(shape) > 1 and not name.endswith((".gain", ".bias")):
        return torch.from_numpy(values / np.float32(np.prod(shape[1:]) ** 0.5))
    if name.endswith(".scale"):  # the length of all weights of a layer together
        return torch.from_numpy(4 + 0.1 * values)
    if name.endswith("running_var"):
        return torch.from_numpy(1 + 0.2 * np.abs(values))
    near = 1.0 if name.endswith((".gain", ".weight")) and shape != (1,) else 0.0
    return torch.from_numpy(near + 0.1 * values)


def fill(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Seeded values for every float of a state dict of the authors' module."""
    return {
        name: seeded(name, tuple(value.shape)) if value.is_floating_point() else value
        for name, value in state.items()
    }


def sound(time: int) -> Tensor:
    """A waveform of two items that swells, with some silence."""
    random = np.random.Generator(np.random.Philox(key=7))
    waveform = 0.1 * random.standard_normal((2, time)).astype(np.float32)
    waveform *= np.linspace(0.05, 1, time, dtype=np.float32)
    waveform[1, time // 3 : time // 2] = 0
    return torch.from_numpy(waveform)


def after_a_click(waveform: Tensor) -> Tensor:
    """The waveform with a click and silence at its beginning, for networks that hear the phase.

    A transform that mirrors the ends makes the first frame symmetric, so that its spectrum is real but for rounding.
    Where it is below zero, the sign of the rounding decides between the phases pi and -pi, and processors round
    differently. The spectrum of a click is above zero in all bins.
    """
    waveform = waveform.clone()
    waveform[:, 0], waveform[:, 1:256] = 0.5, 0.0
    return waveform


_CONV_TASNET = {
    "TCN.LN.": "separator.norm.",
    "TCN.BN.": "separator.bottleneck.",
    "TCN.output.": "separator.mask.",
    "TCN.TCN.": "separator.blocks.",
    ".conv1d.": ".expand.0.",
    ".nonlinearity1.": ".expand.1.",
    ".reg1.": ".expand_norm.",
    ".dconv1d.": ".depthwise.",
    ".nonlinearity2.": ".activation.",
    ".reg2.": ".depthwise_norm.",
    ".res_out.": ".residual.",
    ".skip_out.": ".skip.",
    ".gain": ".weight",
}


def conv_tasnet(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of naplab/Conv-TasNet as ours."""
    ours = {}
    for name, tensor in theirs.items():
        norm = any(part in name for part in (".LN.", ".reg1.", ".reg2."))
        for old, new in _CONV_TASNET.items():
            name = name.replace(old, new)
        ours[name] = tensor.flatten() if norm else tensor
    return ours


_PARTS = {"1": "real", "2": "imaginary"}


def gcrn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of JupiterEthan/GCRN-complex as ours: the two halves of a gated convolution are one here."""
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        if match := re.fullmatch(r"conv(\d)\.conv1\.(\w+)", name):
            other = theirs[name.replace(".conv1.", ".conv2.")]
            ours[f"encoder.{int(match[1]) - 1}.conv.{match[2]}"] = torch.cat([tensor, other])
        elif match := re.fullmatch(r"conv(\d)_t_(\d)\.conv1\.(\w+)", name):
            other = theirs[name.replace(".conv1.", ".conv2.")]
            joined = torch.cat([tensor, other], dim=1 if match[3] == "weight" else 0)
            ours[f"{_PARTS[match[2]]}.layers.{5 - int(match[1])}.conv.{match[3]}"] = joined
        elif match := re.fullmatch(r"bn(\d)\.(\w+)", name):
            ours[f"encoder.{int(match[1]) - 1}.norm.{match[2]}"] = tensor
        elif match := re.fullmatch(r"bn(\d)_t_(\d)\.(\w+)", name):
            ours[f"{_PARTS[match[2]]}.layers.{5 - int(match[1])}.norm.{match[3]}"] = tensor
        elif match := re.fullmatch(r"fc(\d)\.(\w+)", name):
            ours[f"{_PARTS[match[1]]}.linear.{match[2]}"] = tensor
        elif match := re.fullmatch(r"glstm\.lstm_list(\d)\.(\d)\.(\w+)", name):
            ours[f"recurrent.{_LAYERS[match[1]]}.cells.{match[2]}.{match[3]}"] = tensor
        elif match := re.fullmatch(r"glstm\.ln(\d)\.(\w+)", name):
            ours[f"recurrent.{_LAYERS[match[1]]}_norm.{match[2]}"] = tensor
    return ours


_LAYERS = {"1": "first", "2": "second"}


_PATHS = {"time": "along", "freq": "across"}
_HEADS = ("mlp_mask", "mlp_residual")


def bsrnn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of ESPnet's BSRNN as ours: the layers of all bands are one tensor here, with a row for each number."""
    theirs = {
        name.replace(".gamma", ".weight").replace(".beta", ".bias"): tensor
        for name, tensor in theirs.items()
    }
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        if match := re.fullmatch(r"(norm|rnn|fc)_(time|freq)\.(\d)\.(\w+)", name):
            part = {"norm": "norm", "rnn": "recurrent", "fc": "linear"}[match[1]]
            ours[f"{_PATHS[match[2]]}.{match[3]}.{part}.{match[4]}"] = (
                tensor.flatten() if part == "norm" else tensor
            )
    bands = range(sum(name.startswith("band_split.fc.") for name in theirs) // 2)

    def of(template: str) -> list[Tensor]:
        return [theirs[template.format(band)] for band in bands]

    ours["split.norm_weight"] = torch.cat([t.flatten() for t in of("band_split.norm.{}.weight")])
    ours["split.norm_bias"] = torch.cat([t.flatten() for t in of("band_split.norm.{}.bias")])
    ours["split.weight"] = torch.cat([t[..., 0].T for t in of("band_split.fc.{}.weight")])
    ours["split.bias"] = torch.stack(of("band_split.fc.{}.bias"))
    merge: dict[str, list[Tensor]] = {}
    for head in _HEADS:
        at = f"mask_decoder.{head}.{{}}"
        gates = [rearrange(t, "(gate o) ... -> o gate ...", gate=2) for t in of(f"{at}.3.weight")]
        biases = [rearrange(t, "(gate o) -> o gate", gate=2) for t in of(f"{at}.3.bias")]
        for name, tensor in {
            "norm_weight": torch.stack([t.flatten() for t in of(f"{at}.0.weight")]),
            "norm_bias": torch.stack([t.flatten() for t in of(f"{at}.0.bias")]),
            "hidden_weight": torch.stack([t[..., 0].T for t in of(f"{at}.1.weight")]),
            "hidden_bias": torch.stack(of(f"{at}.1.bias")),
            "weight": torch.cat(gates)[..., 0],
            "bias": torch.cat(biases),
        }.items():
            merge.setdefault(name, []).append(tensor)
    for name, heads in merge.items():
        ours[f"merge.{name}"] = torch.stack(heads, dim=1 if name in ("weight", "bias") else 0)
    return ours


def crn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of JupiterEthan/CRN-causal as ours."""
    ours = {}
    for name, tensor in theirs.items():
        if match := re.fullmatch(r"(conv|bn)(\d)(_t)?\.(\w+)", name):
            part = ("up" if match[3] else "down") + ("_norms" if match[1] == "bn" else "")
            index = 5 - int(match[2]) if match[3] else int(match[2]) - 1
            ours[f"{part}.{index}.{match[4]}"] = tensor
        else:
            ours[name.replace("lstm.", "recurrent.")] = tensor
    return ours


_KERAS = {
    "kernel": "weight",
    "recurrent_kernel": "weight_hh",
    "gamma": "weight",
    "beta": "bias",
    "alpha": "weight",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def of_keras(name: str) -> str:
    """The name of a weight of Keras with PyTorch's word for its kind."""
    head, _, kind = name.rpartition("/")
    return f"{head}.{_KERAS.get(kind, kind)}"


def dpcrn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of Le-Xiaohuai-speech/DPCRN_DNS3, by `of_keras`, as ours."""
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        head, _, kind = name.rpartition(".")
        if head == "input_norm":
            ours[f"norm.{kind}"] = tensor.reshape(-1, 2)
        elif match := re.fullmatch(r"model0_(d?)(conv|bn)_(\d)", head):
            part = "conv" if match[2] == "conv" else "after.0"
            kernel = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor
            ours[f"{'up' if match[1] else 'down'}.{int(match[3]) - 1}.{part}.{kind}"] = kernel
        elif match := re.fullmatch(r"p_re_lu_?(\d?)", head):
            index = int(match[1] or 0)
            block = f"down.{index}" if index < 5 else f"up.{index - 5}"
            ours[f"{block}.after.1.weight"] = tensor.flatten()
        elif match := re.fullmatch(r"dprnn_block_?(\d?)/(.+)", head):
            block, part = 2 * int(match[1] or 0), match[2]
            index = int(found[1]) if (found := re.search(r"_(\d)$", part.split("/")[0])) else 0
            path = f"dual_path.{block + index % 2}"
            if part.startswith("dense"):
                ours[f"{path}.linear.{kind}"] = tensor.T if kind == "weight" else tensor
            elif part.startswith("layer_norm"):
                bands, channels = tensor.shape[::-1]
                ours[f"{path}.norm.{kind}"] = tensor.reshape(bands, channels)
            else:
                along = not part.startswith("bidirectional")
                path = f"dual_path.{block + along}.recurrent"
                end = "l0_reverse" if "backward" in part else "l0"
                if kind == "bias":
                    ours[f"{path}.bias_ih_{end}"] = tensor
                    ours[f"{path}.bias_hh_{end}"] = torch.zeros_like(tensor)
                else:
                    which = "hh" if kind == "weight_hh" else "ih"
                    ours[f"{path}.weight_{which}_{end}"] = tensor.T
    return ours


_DCCRN = {
    r"encoder\.(\d)\.": r"down.\1.",
    r"decoder\.(\d)\.0\.": r"up.\1.conv.",
    r"decoder\.(\d)\.(\d)\.": lambda match: f"up.{match[1]}.after.{int(match[2]) - 1}.",
    r"(down\.\d)\.0\.": r"\1.conv.",
    r"(down\.\d)\.1\.": r"\1.norm.",
    r"(down\.\d)\.2\.": r"\1.activation.",
    r"enhance\.\d\.r_trans\.": "real_linear.",
    r"enhance\.\d\.i_trans\.": "imaginary_linear.",
    r"enhance\.": "recurrent.",
    r"\.real_(conv|lstm)\.": ".real.",
    r"\.imag_(conv|lstm)\.": ".imaginary.",
}


def dccrn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of huyanxin/DeepComplexCRN as ours, whose kernels are frames by bins."""
    ours = {}
    for name, tensor in theirs.items():
        name = renamed(name, _DCCRN)
        ours[name] = tensor.transpose(2, 3) if tensor.ndim == 4 else tensor
    return ours


_DEMUCS = {
    r"^lstm\.lstm\.": "recurrent.",
    r"^lstm\.linear\.": "linear.",
    r"^(encoder\.\d)\.0\.": r"\1.conv.",
    r"^(encoder\.\d)\.2\.": r"\1.mix.1.",
    r"^(decoder\.\d)\.0\.": r"\1.mix.0.",
    r"^(decoder\.\d)\.2\.": r"\1.conv.",
}


def demucs(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of facebookresearch/denoiser as ours."""
    return {renamed(name, _DEMUCS): tensor for name, tensor in theirs.items()}


_DPRNN = {
    r"^(encoder|decoder)\.filterbank\._filters$": r"\1.weight",
    r"^masker\.bottleneck\.0\.": "norm.",
    r"^masker\.bottleneck\.1\.": "bottleneck.",
    r"^masker\.net\.(\d)\.intra_": lambda match: f"paths.{2 * int(match[1])}.",
    r"^masker\.net\.(\d)\.inter_": lambda match: f"paths.{2 * int(match[1]) + 1}.",
    r"\.RNN\.rnn\.": ".recurrent.",
    r"^masker\.first_out\.": "joined.",
    r"^masker\.net_out\.": "output.",
    r"^masker\.net_gate\.": "gate.",
    r"^masker\.mask_net\.": "mask.0.",
    r"\.gamma$": ".weight",
    r"\.beta$": ".bias",
}


def dprnn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of Asteroid's DPRNNTasNet as ours."""
    ours = {renamed(name, _DPRNN): tensor for name, tensor in theirs.items()}
    return {**ours, "joined.1.weight": ours["joined.1.weight"].flatten(1)}


_DUAL_PATH = {
    r"^row_(rnn|norm)\.(\d)\.": lambda match: f"paths.{2 * int(match[2])}.{match[1]}.",
    r"^col_(rnn|norm)\.(\d)\.": lambda match: f"paths.{2 * int(match[2]) + 1}.{match[1]}.",
    r"\.rnn\.rnn\.": ".recurrent.",
    r"\.rnn\.proj\.": ".linear.",
    r"^output\.": "joined.",
}


def dual_path(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of the DPRNN in yluo42/TAC as ours."""
    ours = {renamed(name, _DUAL_PATH): tensor for name, tensor in theirs.items()}
    return {**ours, "joined.1.weight": ours["joined.1.weight"].flatten(1)}


def fcn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of the FCN of JasonSWFu, whose layers are one list, as ours."""
    ours = {}
    for name, tensor in theirs.items():
        number, _, kind = name.partition(".")
        layer, place = divmod(int(number), 3)
        part = ("conv", "behind.0")[place]
        ours[f"layers.{layer}.{part}.{kind}"] = tensor[:, None] if place else tensor
    return ours


_SEGAN = {
    r"^(enc|dec)_blocks\.": lambda match: {"enc": "down.", "dec": "up."}[match[1]],
    r"\.act\.": ".activation.",
    r"\.deconv\.": ".conv.",
    r"^alpha_(\d)\.skip_k$": r"skips.\1",
}


def segan(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of the generator of santi-pdp/segan_pytorch as ours."""
    ours = {renamed(name, _SEGAN): tensor for name, tensor in theirs.items()}
    return {name: t.flatten() if name.startswith("skips") else t for name, t in ours.items()}


_TCNN = {
    r"^(D?)Conv2d_(\d)\.": lambda match: f"{_at_level(match[2], match[1])}.",
    r"^bn(\d)(_t)?\.": lambda match: f"{_at_level(match[1], match[2], '_norms')}.0.",
    r"^prelu(\d)(_t)?\.": lambda match: f"{_at_level(match[1], match[2], '_norms')}.1.",
    r"^TCNN_Block_(\d)\.network\.(\d)\.TCM_net\.": lambda match: (
        f"blocks.{6 * int(match[1]) - 6 + int(match[2])}."
    ),
    r"^(blocks\.\d+)\.([012])\.": r"\1.expand.\2.",
    r"\.3\.net\.0\.": ".depthwise.",
    r"\.3\.net\.(\d)\.": lambda match: f".reduce.{int(match[1]) - 2}.",
}


def _at_level(number: str, up: str | None, end: str = "") -> str:
    """Place of one of seven layers down, from 1, or up, from 7."""
    return f"up{end}.{7 - int(number)}" if up else f"down{end}.{int(number) - 1}"


def tcnn(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of LXP-Never/TCNN as ours."""
    return {renamed(name, _TCNN): tensor for name, tensor in theirs.items()}


_LISENNET = {
    r"encoder\.conv_1\.": "first.",
    r"encoder\.conv_(\d)\.": lambda match: f"down.{int(match[1]) - 2}.",
    r"(low|high)_conv\.1\.": r"\1.",
    r"\.high_conv\.conv\.": ".high.",
    r"\.act\.": ".activation.",
    r"\.dp_rnn_attn\.intra_norm\.": ".across.norm.",
    r"\.dp_rnn_attn\.inter_norm\.": ".along.norm.",
    r"\.dp_rnn_attn\.intra_rnn_attn\.": ".across.",
    r"\.dp_rnn_attn\.inter_rnn_attn\.": ".along.",
    r"\.rnn\.": ".recurrent.",
    r"\.dense\.": ".linear.",
    r"\.conv_glu\.": ".gated.",
    r"\.fc1\.": ".expand.",
    r"\.dwconv\.1\.": ".depthwise.",
    r"\.fc2\.": ".reduce.",
    r"decoder\.up(\d)\.": lambda match: f"up.{int(match[1]) - 1}.",
    r"decoder\.mask_conv\.1\.": "last.",
    r"decoder\.mask_conv\.(\d)\.": lambda match: f"gain.{int(match[1]) - 2}.",
    r"decoder\.lsigmoid\.": "",
    r"\.gamma$": ".weight",
    r"\.beta$": ".bias",
}


def lisennet(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of hyyan2k/LiSenNet as ours, whose norms have no axis for the batch."""
    ours = {}
    for name, tensor in theirs.items():
        norm = name.endswith((".gamma", ".beta"))
        name = renamed(name, _LISENNET)
        ours[name] = tensor[0] if norm else tensor.flatten() if name == "slope" else tensor
    return ours


def wave_u_net(theirs: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """State of craigmacartney's Wave-U-Net, by `of_keras`, as ours: convolutions are numbered as they are made."""
    ours: dict[str, Tensor] = {}
    outputs: dict[str, list[Tensor]] = {"weight": [], "bias": []}
    for name, tensor in theirs.items():
        head, _, kind = name.rpartition(".")
        found = re.search(r"_(\d+)$", head)
        number = int(found[1]) if found else 0
        tensor = tensor.permute(2, 1, 0) if kind == "weight" else tensor
        if number <= layers:
            ours[f"down.{number}.{kind}"] = tensor
        elif number <= 2 * layers:
            ours[f"up.{number - layers - 1}.{kind}"] = tensor
        else:
            outputs[kind].append(tensor)
    return {**ours, **{f"output.{kind}": torch.cat(rows) for kind, rows in outputs.items()}}
