"""File names: which ones are audio, and which container and coding an output name stands for."""

from pathlib import Path

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".aif": ("AIFF", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".au": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".sph": ("NIST", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".oga": ("OGG", "VORBIS"),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
}
"""Suffixes that can be written, with container and default coding."""

LOSSY = frozenset((".mp3", ".oga", ".ogg", ".opus"))

SUFFIXES = frozenset(FORMATS) | frozenset(
    ".wave .aifc .snd .nist .voc .wve .htk .avr .sd2 .svx .8svx .ircam .mp1 .mp2 .mpga .raw .pcm "
    ".m4a .m4b .aac .mp4 .m4v .mov .3gp .3g2 .wma .asf .wmv .webm .mka .mkv .amr .avi .mpg .mpeg .ac3 .spx .ogv .ogx "
    ".flv .ape .wv .tta .dts".split()
)
"""Suffixes of audio and video files: such a file is read, or reported if that fails."""


def looks_like_audio(path: Path) -> bool:
    """Return whether a file name is that of an audio file; hidden files, such as "._a.wav" of macOS, are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def output_name(name: Path) -> Path:
    """Return the output name for an input file in a folder: the same, but FLAC if that format is lossy or not writable.

    >>> [output_name(Path(name)).as_posix() for name in ("a/b.mp3", "a/b.wav", "c.m4a")]
    ['a/b.flac', 'a/b.wav', 'c.flac']
    """
    keeps = name.suffix.lower() in FORMATS and name.suffix.lower() not in LOSSY
    return name if keeps else name.with_suffix(".flac")
