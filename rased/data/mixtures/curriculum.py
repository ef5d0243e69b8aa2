"""A curriculum: mixtures begin easy, and reach those of the scene after some epochs.

Y. Bengio, J. Louradour, R. Collobert, J. Weston, "Curriculum learning", ICML 2009; for the SNR of noisy speech:
S. Braun, D. Neil, S.-C. Liu, "A curriculum learning method for improved noise robustness in automatic speech
recognition", EUSIPCO 2017. The position is a function of (epoch, index), so a resumed run and a replay draw the same.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

from rased.data.mixtures.scene import Scene
from rased.errors import RasedError


@dataclass(frozen=True)
class Curriculum:
    """Where the settings of a scene begin; they move to those of the scene in a straight line. None: no move.

    Attributes:
        epochs: epochs until the scene is reached; a part of an epoch counts.
        snr_db: range of the speech-to-noise ratio at the beginning.
        level_dbfs: range of the level of the mixture at the beginning.
        reverb_probability: share of mixtures in a room at the beginning.
        noise_probability: share of mixtures with noise at the beginning.
        t60: range of the reverberation time of the rooms at the beginning, in seconds; the scene needs one, too.
    """

    epochs: float = 10.0
    snr_db: tuple[float, float] | None = None
    level_dbfs: tuple[float, float] | None = None
    reverb_probability: float | None = None
    noise_probability: float | None = None
    t60: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            RasedError: the number of epochs is not above 0, or a value is out of its range.
        """
        if not 0 < self.epochs < float("inf"):
            raise RasedError(f"curriculum.epochs is {self.epochs}; give more than 0.")
        if not self._beginning:
            names = ", ".join(field.name for field in fields(self) if field.name != "epochs")
            raise RasedError(f"the curriculum changes nothing: set one of {names}.")
        # Runs the checks of Scene on the beginning.
        replace(Scene(), **self._beginning)

    def check(self, scene: Scene) -> None:
        """Check that each setting that moves has an end.

        Raises:
            RasedError: the scene has no range of reverberation times.
        """
        if self.t60 is not None and scene.t60 is None:
            raise RasedError(
                f"curriculum.t60 begins at {list(self.t60)} s, but the scene has no range to end with: set scene.t60, "
                "such as [0.2, 1.0]."
            )

    def scene(self, scene: Scene, progress: float) -> Scene:
        """Return the scene at a position.

        Args:
            scene: the settings at the end.
            progress: epochs since the beginning; a part of an epoch counts.
        """
        # 1 gives the scene itself, not a copy with rounding errors.
        share = min(1.0, progress / self.epochs)
        if share == 1.0:
            return scene
        moved = {
            name: _between(value, getattr(scene, name), share)
            for name, value in self._beginning.items()
        }
        return replace(scene, **moved)

    @property
    def _beginning(self) -> dict[str, Any]:
        """Return the settings that move, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value for name, value in found.items() if name != "epochs" and value is not None
        }


def _between(first: Any, last: Any, share: float) -> Any:
    if isinstance(first, tuple):
        return tuple(_between(*ends, share) for ends in zip(first, last, strict=True))
    return (1 - share) * first + share * last
