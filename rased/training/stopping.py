"""How a training is asked to stop: SIGINT, SIGTERM, SIGHUP, or a step that was named before.

A signal is obeyed after the running step, or at once where the trainer waits for a batch: one may never come.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
GRACE_SECONDS = 10.0
"""After which a signal is obeyed in a wait that cannot be left in good order (a validation, several ranks)."""

Wait = Literal["training", "validation"]


class Interrupted(BaseException):
    """The training was asked to stop, and the last checkpoint is written.

    Attributes:
        code: exit code of the process: 129 for SIGHUP, 130 for Ctrl-C, 143 for SIGTERM, 0 for a step.
        between: whether it stands between two steps and the checkpoint is still to be written.
    """

    def __init__(self, number: int, *, between: bool = False) -> None:
        reason = (
            f"stopped by {signal.Signals(number).name}" if number else "stopped by run.stop_after"
        )
        super().__init__(reason)
        self.code = 128 + number if number else 0
        self.between = between


def wait_of(frame: FrameType | None) -> Wait | None:
    """Which batch the code in a frame waits for: one to train on, one to validate on, or none.

    None too where C code called the frame, to read a file: what is raised there is lost, and the file is read wrongly.
    """
    found: Wait | None = None
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == "soundfile" and frame.f_code.co_name.startswith("vio_"):
            return None
        if module == "pytorch_lightning.loops.fetchers" and frame.f_code.co_name == "__next__":
            found = "training"
        elif found and module == "pytorch_lightning.loops.evaluation_loop":
            return "validation"
        frame = frame.f_back
    return found


class Signals:
    """Listens to the signals that ask to stop; the second one leaves at once, by KeyboardInterrupt.

    Args:
        at_once: whether a wait for a training batch may be left now.
        counts: something that changes with every batch.

    Attributes:
        number: the signal that came; None: none did.
    """

    def __init__(self, at_once: Callable[[], bool], counts: Callable[[], Any]) -> None:
        self.at_once, self.counts = at_once, counts
        self.number: int | None = None
        self._handlers: dict[int, Any] = {}
        self._seen: Any = None
        self._again: threading.Timer | None = None
        self._ours = False

    def listen(self) -> None:
        """Begin, in the main thread; what is ignored (by nohup, say) stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the signals back."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        ours, self._ours = self._ours, False
        if self.number is not None and not ours:
            raise KeyboardInterrupt
        self.number = self.number or number
        wait = wait_of(frame)
        if wait == "training" and self.at_once():
            raise Interrupted(self.number, between=True)
        seen = (wait, self.counts())
        if wait and seen == self._seen:
            raise Interrupted(self.number)
        self._seen = seen
        self._again = threading.Timer(GRACE_SECONDS, self._look_again)
        self._again.daemon = True
        self._again.start()

    def _look_again(self) -> None:
        """Let the main thread look where it is now; the same wait still is one that does not end."""
        if self._handlers and self.number is not None:
            self._ours = True
            os.kill(os.getpid(), self.number)
