"""Read and write audio files of any rate, number of channels and format, whole or block by block.

Arrays are float32 of shape (channel, time), with full scale 1. A bad file raises `BadAudioError` with one sentence. An
output file appears under its name only when it is complete.
"""

from rased.audio.folders import audio_below
from rased.audio.names import FORMATS, LOSSY, SUFFIXES, looks_like_audio, output_name
from rased.audio.outputs import Plan, enhanced_name, plan
from rased.audio.problems import BadAudioError, printable
from rased.audio.reading import (
    BLOCK_SECONDS,
    CHANNELS,
    RATES,
    AudioInfo,
    Recording,
    blocks,
    inspect,
    open_audio,
    read,
)
from rased.audio.resampling import Resampler, resample, resampled_length
from rased.audio.video import VIDEO, VideoWriter, has_picture
from rased.audio.writing import AudioWriter, output_coding, write

__all__ = [
    "BLOCK_SECONDS",
    "CHANNELS",
    "FORMATS",
    "LOSSY",
    "RATES",
    "SUFFIXES",
    "VIDEO",
    "AudioInfo",
    "AudioWriter",
    "BadAudioError",
    "Plan",
    "Recording",
    "Resampler",
    "VideoWriter",
    "audio_below",
    "blocks",
    "enhanced_name",
    "has_picture",
    "inspect",
    "looks_like_audio",
    "open_audio",
    "output_coding",
    "output_name",
    "plan",
    "printable",
    "read",
    "resample",
    "resampled_length",
    "write",
]
