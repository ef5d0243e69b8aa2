"""Networks and methods: waveform in, waveform out; `create_model` makes one of configs/model."""

from rased.exports import Homes, lazily

_HOMES: Homes = {
    "base": (
        "Enhancer",
        "Prediction",
        "SpectralEnhancer",
    ),
    "frequency": (
        "Features",
        "FrequencyDomainEnhancer",
        "Inputs",
        "Level",
        "Phase",
        "PostProcessing",
    ),
    "bsrnn": ("BSRNN",),
    "cmgan": ("CMGAN",),
    "conv_tasnet": ("ConvTasNet",),
    "crn": ("CRN",),
    "dccrn": ("DCCRN",),
    "deepfilternet": ("DeepFilterNet3",),
    "demucs": ("Demucs",),
    "dnn": ("DNN",),
    "dpcrn": ("DPCRN",),
    "dprnn": ("DPRNN",),
    "dtln": ("DTLN",),
    "fastenhancer": ("FastEnhancer",),
    "fcn": ("FCN",),
    "gcrn": ("GCRN",),
    "gru": ("NSNet2",),
    "gtcrn": ("GTCRN",),
    "lisennet": ("LiSenNet",),
    "lstm": ("LSTM",),
    "mpsenet": ("MPSENet",),
    "segan": ("SEGAN",),
    "sepformer": ("SepFormer",),
    "tcnn": ("TCNN",),
    "tfgridnet": ("TFGridNet",),
    "ulunas": ("ULUNAS",),
    "wave_u_net": ("WaveUNet",),
    "classical": (
        "METHODS",
        "MMSESTSA",
        "OMLSA",
        "WPE",
        "WPEOMLSA",
        "LogMMSE",
        "SpectralSubtraction",
        "Wiener",
    ),
    "cost": (
        "Latency",
        "count_parameters",
        "macs_per_second",
    ),
    "registry": (
        "create_model",
        "list_models",
    ),
}
__all__, __getattr__, __dir__ = lazily(__name__, _HOMES)
