"""Stop a training in order: on SIGINT, SIGTERM, SIGHUP, SIGUSR1 or SIGUSR2, or at a given step.

Schedulers send the last two some time before they end a job.

A signal takes effect after the current step, or at once if the trainer is waiting for a batch, which may never come.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
GRACE_SECONDS = 10.0
"""Seconds after which a signal also interrupts a wait that cannot be resumed (a validation, or several ranks)."""

Wait = Literal["training", "validation"]


class Interrupted(BaseException):
    """The training was asked to stop, and the last checkpoint is written.

    Attributes:
        code: exit code of the process: 128 and the number of the signal (130 for Ctrl-C), 0 for a given step.
        between: it was raised between two steps, and the checkpoint still has to be written.
    """

    def __init__(self, number: int, *, between: bool = False) -> None:
        reason = (
            f"stopped by {signal.Signals(number).name}" if number else "stopped by run.stop_after"
        )
        super().__init__(reason)
        # The convention of shells.
        self.code = 128 + number if number else 0
        self.between = between


def wait_of(frame: FrameType | None) -> Wait | None:
    """Return which batch the code in a stack frame waits for: a training batch, a validation batch, or None.

    It is None, too, if C code called the frame to read a file: C code would drop the exception and read wrong data.
    """
    found: Wait | None = None
    # From the innermost frame outwards.
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        # The callbacks through which libsndfile reads a file object.
        if module == "soundfile" and frame.f_code.co_name.startswith("vio_"):
            return None
        if module == "pytorch_lightning.loops.fetchers" and frame.f_code.co_name == "__next__":
            found = "training"
        elif found and module == "pytorch_lightning.loops.evaluation_loop":
            return "validation"
        frame = frame.f_back
    return found


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Restore the handlers of the signals that ask to stop, however the block ends.

    A second error, such as the death of another data loader process, can end the hook that calls `Signals.restore`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Signals:
    """Handles signals that ask to stop; a second signal raises KeyboardInterrupt at once.

    Args:
        at_once: returns whether a wait for a training batch may be interrupted now.
        counts: returns a value that changes with every batch.

    Attributes:
        number: the signal received; None: none.
    """

    def __init__(self, at_once: Callable[[], bool], counts: Callable[[], Any]) -> None:
        self.at_once, self.counts = at_once, counts
        self.number: int | None = None
        self._handlers: dict[int, Any] = {}
        self._seen: Any = None
        self._again: threading.Timer | None = None
        self._ours = False

    def listen(self) -> None:
        """Install the handlers, in the main thread only; a signal that was ignored (by nohup, say) stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Restore the previous handlers."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        # `_look_again` has sent it, not the user.
        ours, self._ours = self._ours, False
        if self.number is not None and not ours:
            raise KeyboardInterrupt
        self.number = self.number or number
        wait = wait_of(frame)
        if wait == "training" and self.at_once():
            raise Interrupted(self.number, between=True)
        seen = (wait, self.counts())
        # Nothing has moved for GRACE_SECONDS. The state may be that of half a step: it is not saved.
        if wait and seen == self._seen:
            raise Interrupted(self.number)
        self._seen = seen
        self._again = threading.Timer(GRACE_SECONDS, self._look_again)
        self._again.daemon = True
        self._again.start()

    def _look_again(self) -> None:
        """Check again after some time: if the main thread is still in the same wait, the wait will not end."""
        if self._handlers and self.number is not None:
            self._ours = True
            # From the thread of the timer: Python runs the handler in the main thread, which sees its own frame.
            os.kill(os.getpid(), self.number)
