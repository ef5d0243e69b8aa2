"""Audio files in every shape that programs leave behind, built from bytes; and seeded damage to them."""

import io
import random
import zlib
from collections.abc import Callable

import numpy as np
import soundfile

RATE = 16_000
LENGTH = 12_345
"""Samples of the material; not a whole number of anything."""


def bursts(length: int = LENGTH, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Bursts of sound in a little noise, silent at the beginning: what guesses of a bit rate fail on."""
    generator = np.random.default_rng(seed)
    signal = 0.003 * generator.standard_normal((length, channels))
    for start in range(length // 3, length - 500, 4000):
        stop = min(start + 2500, length)
        time = np.arange(stop - start)[:, None] / RATE
        signal[start:stop] += 0.4 * np.sin(2 * np.pi * (200 + start / 20) * time)
    return signal


def encoded(container: str, coding: str, signal: np.ndarray | None = None, **options) -> bytes:
    """The material as libsndfile writes it."""
    data = io.BytesIO()
    signal = bursts() if signal is None else signal
    soundfile.write(data, signal, RATE, format=container, subtype=coding, **options)
    return data.getvalue()


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def wav_with_length(length: bytes, container: str = "WAV") -> bytes:
    """A WAV whose data chunk says this length, as a program leaves it that cannot go back, or was killed."""
    data = encoded(container, "PCM_16")
    return replaced(data, data.index(b"data") + 4, length)


def unfinished_rf64() -> bytes:
    """An RF64 whose ds64 was never filled in."""
    data = encoded("RF64", "PCM_16")
    data = replaced(data, data.index(b"ds64") + 8, bytes(24))
    return replaced(data, data.index(b"data") + 4, b"\xff" * 4)


def unfinished_caf() -> bytes:
    data = encoded("CAF", "PCM_16")
    return replaced(data, data.index(b"data") + 4, b"\xff" * 8)


def unfinished_w64() -> bytes:
    data = encoded("W64", "PCM_16")
    data = replaced(data, 16, b"\xff" * 8)
    return replaced(data, data.index(b"data") + 16, b"\xff" * 7 + b"\x7f")


def unfinished_aiff() -> bytes:
    data = encoded("AIFF", "PCM_16")
    return replaced(data, data.index(b"SSND") + 4, bytes(4))


def unfinished_au() -> bytes:
    return replaced(encoded("AU", "PCM_16"), 8, b"\xff" * 4)


def unfinished_flac() -> bytes:
    """A FLAC as it is written to a pipe: no number of samples, no checksum of them."""
    data = encoded("FLAC", "PCM_16")
    data = replaced(data, 21, bytes([data[21] & 0xF0]) + bytes(4))
    return replaced(data, 26, bytes(16))


def mp3(**options) -> bytes:
    return encoded("MP3", "MPEG_LAYER_III", **options)


def mpeg_frames(data: bytes) -> list[bytes]:
    """The frames of an MP3 of this rate (MPEG 2, layer III) without its tags."""
    kbits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    at, frames = data.index(b"\xff\xf3"), []
    while at < len(data):
        assert data[at : at + 2] == b"\xff\xf3"
        length = 72 * 1000 * kbits[data[at + 2] >> 4] // RATE + (data[at + 2] >> 1 & 1)
        frames.append(data[at : at + length])
        at += length
    return [frame for frame in frames if b"Xing" not in frame and b"Info" not in frame]


def mp3_without_tag() -> bytes:
    """A stream of variable bit rate, as `lame -t`, recorders and cutters leave it."""
    return b"".join(mpeg_frames(mp3(bitrate_mode="VARIABLE", compression_level=0.5)))


def mp3_in_wav() -> bytes:
    """An MP3 in a WAV, whose fact chunk counts more samples than there are."""
    stream = mp3_without_tag()
    layout = b"\x55\0\1\0" + RATE.to_bytes(4, "little") + (4000).to_bytes(4, "little")
    layout += b"\1\0\0\0\x0c\0\1\0\2\0\0\0\0\0\1\0\0\0"
    chunks = b"fmt " + len(layout).to_bytes(4, "little") + layout
    chunks += b"fact\4\0\0\0" + (LENGTH + 3000).to_bytes(4, "little")
    chunks += b"data" + len(stream).to_bytes(4, "little") + stream + bytes(len(stream) % 2)
    return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WAVE" + chunks


def vbri_tag(frames: int) -> bytes:
    """A first frame with the tag of Fraunhofer's encoder."""
    head = mpeg_frames(mp3_without_tag())[0][:4]
    length = 72 * 64_000 // RATE
    tag = b"VBRI" + bytes(6) + (length + len(mp3_without_tag())).to_bytes(4, "big")
    content = bytes((head[0], head[1] | 1, 8 << 4 | head[2] & 0x0C, head[3])) + bytes(32) + tag
    return (content + frames.to_bytes(4, "big")).ljust(length, b"\0")


def frames_of_mp3() -> int:
    return 576 * len(mpeg_frames(mp3_without_tag()))


_WRITTEN: dict[str, tuple[str, str]] = {
    "wav": ("WAV", "PCM_16"),
    "wav 24": ("WAV", "PCM_24"),
    "wav 32": ("WAV", "PCM_32"),
    "wav float": ("WAV", "FLOAT"),
    "wav double": ("WAV", "DOUBLE"),
    "wav 8": ("WAV", "PCM_U8"),
    "wav a-law": ("WAV", "ALAW"),
    "wav u-law": ("WAV", "ULAW"),
    "wavex": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "sphere": ("NIST", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
    "svx": ("SVX", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "flac 24": ("FLAC", "PCM_24"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}

WHOLE: dict[str, tuple[Callable[[], bytes], int | None]] = {
    **{
        name: ((lambda kind=kind: encoded(*kind)), LENGTH)  # type: ignore[misc]
        for name, kind in _WRITTEN.items()
    },
    "wav ima adpcm": (lambda: encoded("WAV", "IMA_ADPCM"), None),
    "wav ms adpcm": (lambda: encoded("WAV", "MS_ADPCM"), None),
    "wav gsm": (lambda: encoded("WAV", "GSM610"), None),
    "wav 64 channels": (lambda: encoded("WAV", "PCM_16", bursts(400, 64)), 400),
    "mp3 vbr": (lambda: mp3(bitrate_mode="VARIABLE", compression_level=0.5), LENGTH),
    "mp3 stereo": (lambda: mp3(signal=bursts(LENGTH, 2)), LENGTH),
    "mp3 no tag": (mp3_without_tag, frames_of_mp3()),
    "mp3 in wav": (mp3_in_wav, frames_of_mp3()),
    "mp3 joined": (lambda: mp3() + mp3(), 2 * LENGTH),
    "mp3 id3v1": (lambda: mp3() + b"TAG" + bytes(125), LENGTH),
    "mp3 id3v2": (lambda: b"ID3\4\0\0\0\0\0\x20" + bytes(32) + mp3(), LENGTH),
    "wav piped": (lambda: wav_with_length(b"\xff" * 4), LENGTH),
    "wav piped by sox": (lambda: wav_with_length(b"\x00\xf0\xff\x7f"), LENGTH),
    "wav recorder died": (lambda: wav_with_length(bytes(4)), LENGTH),
    "rf64 piped": (unfinished_rf64, LENGTH),
    "caf piped": (unfinished_caf, LENGTH),
    "w64 piped": (unfinished_w64, LENGTH),
    "aiff piped": (unfinished_aiff, LENGTH),
    "au piped": (unfinished_au, LENGTH),
    "flac piped": (unfinished_flac, LENGTH),
    "mp3 vbri": (
        lambda: vbri_tag(len(mpeg_frames(mp3_without_tag()))) + mp3_without_tag(),
        frames_of_mp3(),
    ),
    "mp3 after junk": (lambda: b"\0junk" * 99 + mp3(), LENGTH),
    "flac joined": (lambda: encoded("FLAC", "PCM_16") * 2, 2 * LENGTH),
    "flac piped joined": (lambda: unfinished_flac() * 2, 2 * LENGTH),
    "vorbis chained": (lambda: encoded("OGG", "VORBIS") * 2, 2 * LENGTH),
    "opus chained": (lambda: encoded("OGG", "OPUS") * 3, 3 * LENGTH),
    "opus tagged": (lambda: encoded("OGG", "OPUS") + b"TAG" + bytes(125), LENGTH),
    "vorbis zeros": (lambda: encoded("OGG", "VORBIS") + bytes(512), LENGTH),
}
"""Name: how to make it, and its samples per channel (None where a coding pads its last block)."""

UNKNOWING = {"wav piped", "wav piped by sox", "wav recorder died", "rf64 piped"} | {
    "caf piped",
    "w64 piped",
    "aiff piped",
    "au piped",
}
"""Of these nobody can tell that they are cut: no length, and no structure in their samples."""


def ending(name: str) -> str:
    """An ending for the file of a name: none that would help to read it."""
    return {"mp3": ".mp3", "flac": ".flac", "opus": ".opus", "vorbis": ".ogg"}.get(
        name.split()[0], ".wav"
    )


def damaged(data: bytes, generator: random.Random) -> bytes:
    """Change a file as bad disks, lines and programs do: most changes fall into its header."""
    content = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 4, 16))):
        reach = generator.choice((64, 256, len(content)))
        at = generator.randrange(max(1, min(reach, len(content))))
        match generator.randrange(8):
            case 0 | 1:
                content[at] ^= 1 << generator.randrange(8)
            case 2 | 3:
                content[at] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
            case 4:
                width = generator.choice((2, 4, 8))
                value = generator.choice(
                    (0, 1, 2**31 - 1, 2**32 - 1, 2**63, generator.getrandbits(32))
                )
                new = value.to_bytes(9, generator.choice(("little", "big")))
                content[at : at + width] = new[:width] if value else bytes(width)
            case 5:
                del content[at : at + generator.randrange(1, 40)]
            case 6:
                content[at:at] = generator.randbytes(generator.randrange(1, 40))
            case 7:
                del content[generator.randrange(1, len(content) + 1) :]
        content = content or bytearray(b"\0")
    found = bytes(content)
    return with_checksums(found) if generator.random() < 0.3 else found


def with_checksums(data: bytes) -> bytes:
    """Make the checksums of all Ogg pages right again, as whoever wants to deceive a reader does."""
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    content, at = bytearray(data), data.find(b"OggS")
    while 0 <= at and at + 27 <= len(content):
        table = content[at + 27 : at + 27 + content[at + 26]]
        stop = at + 27 + len(table) + sum(table)
        content[at + 22 : at + 26] = bytes(4)
        value = zlib.crc32(bytes(content[at:stop]).translate(reverse), 0xFFFFFFFF) ^ 0xFFFFFFFF
        content[at + 22 : at + 26] = int(f"{value:032b}"[::-1], 2).to_bytes(4, "little")
        at = content.find(b"OggS", at + 4)
    return bytes(content)
