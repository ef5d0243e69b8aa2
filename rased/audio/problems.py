"""Errors for audio files that cannot be read."""

from pathlib import Path

from rased.errors import RasedError


class BadAudioError(RasedError):
    """A file that cannot be read as audio, or not to its end.

    Attributes:
        path: the file.
        reason: why, as the rest of a sentence that begins with the name of the file: "is empty (0 bytes)".
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"'{printable(self.path)}' {self.reason}."


def printable(path: str | Path) -> str:
    r"""Return a name that any terminal and UTF-8 file can show; bytes that are not UTF-8 become \x...

    >>> print(printable("caf\udce9.wav"))
    caf\xe9.wav
    """
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


class DamagedError(Exception):
    """Why a stream is damaged, as the rest of a sentence; becomes a `BadAudioError` with the name of the file."""
