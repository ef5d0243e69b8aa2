"""Load user-defined metrics, each a class in a file: `my_metric.py:MyMetric`.

The code of the file runs in this process and in every process of the evaluation: use only files that you trust.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from jaxtyping import Float
from torch import Tensor

from rased import documents
from rased.errors import RasedError, cut, nearest, shown
from rased.evaluation.schema import Declared
from rased.evaluation.scoring.jobs import SCORING_RATE
from rased.metrics import METRICS, Metric
from rased.metrics.base import Undefined
from rased.names import plain
from rased.native import DiedError


@dataclass(frozen=True)
class OwnMetric:
    """A metric from a file, small enough to send to another process.

    Attributes:
        path: absolute path of the file.
        kind: name of the class.
        code: content of the file when it was first read, so that every process uses the same code.
    """

    path: str
    kind: str
    code: bytes

    def __str__(self) -> str:
        """Return FILE.py:CLASS, as on the command line."""
        return f"{self.path}:{self.kind}"


_REGISTERED: dict[str, OwnMetric] = {}
"""Name of each metric -> its file."""


def is_own(word: str) -> bool:
    """Return whether an argument is FILE.py:CLASS rather than a name."""
    return word.endswith(".py") or ".py:" in word


def metric_of(word: str) -> str:
    """Return the name of a metric: the argument itself, or that of the metric in a file, which is added to METRICS."""
    return register_file(word) if is_own(word) else word


def register_file(word: str, *, taken: tuple[str, ...] = ()) -> str:
    """Read a metric from a file, add it to METRICS, and return its name; calling it twice is harmless.

    Args:
        word: FILE.py:CLASS.
        taken: names, besides those of metrics, that it may not have.

    Raises:
        RasedError: no such file or class, not a metric, or the name is taken.
    """
    path, _, kind = word.rpartition(":")
    if not path.endswith(".py") or not kind.isidentifier():
        example = word.partition(".py")[0] + ".py"
        raise RasedError(
            f"'{cut(word)}' does not name a class: write for example {example}:MyMetric."
        )
    try:
        code = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RasedError(f"the file '{path}' cannot be read: {reason.lower()}.") from None
    return register(OwnMetric(str(Path(path).resolve()), kind, code), taken=taken)


def register(source: OwnMetric, *, taken: tuple[str, ...] = ()) -> str:
    """Run the code of a metric and add it to METRICS; see `register_file`."""
    known = next((name for name, own in _REGISTERED.items() if own == source), None)
    if known in METRICS:
        return str(known)
    metric = _instance(source, _class_of(source))
    name = metric.name
    earlier = _REGISTERED.get(name)
    # The same class of the same file with other code: the file was edited, which is no clash of names.
    renewed = earlier is not None and replace(earlier, code=source.code) == source
    if (name in METRICS and not renewed) or name in taken:
        raise RasedError(
            f"the name '{name}' of the metric in '{source}' is taken: choose another name."
        )
    METRICS[name] = metric
    _REGISTERED[name] = source
    return name


def own_among(names: tuple[str, ...]) -> tuple[OwnMetric, ...]:
    """Return the sources of those metrics that come from files, for `register` in another process."""
    return tuple(_REGISTERED[name] for name in names if name in _REGISTERED)


def _class_of(source: OwnMetric) -> type[Metric]:
    """Run the file, and return the class."""
    # Named after its content, so that files of one name do not replace each other.
    module = ModuleType(f"rased_own_metric_{hashlib.sha256(source.code).hexdigest()[:16]}")
    module.__file__ = source.path
    folder = str(Path(source.path).parent)
    if folder not in sys.path:
        sys.path.append(folder)  # lets the file import its neighbours, as Python does for a script
    sys.modules[module.__name__] = module  # dataclasses and pickle look it up there
    try:
        # `dont_inherit`: with the `__future__` imports of that file alone.
        exec(compile(source.code, source.path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:  # the user's file may raise anything
        del sys.modules[module.__name__]
        raise RasedError(
            f"'{source.path}' cannot be imported: {type(error).__name__}: {cut(str(error))}."
        ) from error
    kind = getattr(module, source.kind, None)
    if kind is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise RasedError(
            f"'{source.path}' has no class '{source.kind}'; {nearest(source.kind, classes)}"
        )
    if not isinstance(kind, type) or not issubclass(kind, Metric) or kind is Metric:
        raise RasedError(f"'{source}' is not a metric: derive the class from rased.metrics.Metric.")
    return kind


def _instance(source: OwnMetric, kind: type[Metric]) -> Metric:
    """Make the metric, and check that it declares everything a metric must."""
    absent = [name for name in ("name", "title", "range") if not hasattr(kind, name)]
    if absent:
        raise RasedError(f"the metric '{source}' does not define {' and '.join(absent)}.")
    if kind.measure is Metric.measure and kind.compare is Metric.compare:  # neither is overridden
        raise RasedError(f"the metric '{source}' does not define measure(self, estimate, target).")
    plain(kind.name, what=f"the name of the metric '{source}'")
    try:
        metric = _guarded(source, kind)()
        declared = metric.declaration()
    except Exception as error:
        raise RasedError(
            f"the metric '{source}' cannot be made: {type(error).__name__}: {cut(str(error))}."
        ) from error
    repair = "See the attributes of rased.metrics.Metric."
    documents.fit(declared, Declared, of=str(source), repair=repair, verdict="is wrong")
    for name in ("title", "family", "task"):
        if not isinstance(getattr(metric, name), str):
            raise RasedError(
                f"'{source}' is wrong: `{name}` is {shown(getattr(metric, name))}; expected text. {repair}"
            )
    if metric.sample_rate not in (None, SCORING_RATE):
        raise RasedError(
            f"the metric '{source}' is defined at {metric.sample_rate} Hz, but evaluations score at "
            f"{SCORING_RATE} Hz: remove sample_rate, and resample in measure."
        )
    return metric


def _guarded(source: OwnMetric, kind: type[Metric]) -> type[Metric]:
    """Return a subclass whose version includes the code, and whose exceptions become one sentence."""
    digest = hashlib.sha256(source.code).hexdigest()[:16]

    @contextmanager
    def guard() -> Iterator[None]:
        try:
            yield
        except (Undefined, DiedError, RasedError):
            raise
        except Exception as error:  # the user's file may raise anything
            raise RasedError(
                f"the metric '{source}' fails: {type(error).__name__}: {cut(str(error))}."
            ) from error

    class Guarded(kind):
        __doc__ = kind.__doc__

        @property
        def version(self) -> str:
            told = [str(super().version), f"{Path(source.path).name} {digest}"]
            return ", ".join(filter(None, told))

        def measure(
            self, estimate: Float[Tensor, " time"], target: Float[Tensor, " time"] | None
        ) -> float:
            with guard():
                return float(super().measure(estimate, target))

        def compare(self, estimate: Float[Tensor, " time"], text: str) -> float:
            with guard():
                return float(super().compare(estimate, text))

    Guarded.__name__ = kind.__name__
    return Guarded
