"""Base of frozen settings whose text stays the same when a setting is added later."""

from dataclasses import fields
from typing import ClassVar


class Settings:
    """A frozen dataclass with `repr=False`: settings named in `later` are shown where they differ from their default.

    Fingerprints of systems hold that text: a new setting moves none of a system that does not use it.
    """

    later: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        """As dataclasses write themselves."""
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)  # type: ignore[arg-type]
            if field.name not in self.later or getattr(self, field.name) != field.default
        ]
        return f"{type(self).__qualname__}({', '.join(shown)})"
