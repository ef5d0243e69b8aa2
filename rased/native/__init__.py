"""Compiled code of others, in a process that may die: what a metric calls there costs one value at most.

A library in C can overwrite memory or end its process. What is run by `call` does so in a child, which
stays for the calls that follow and is replaced where it died. The child imports numpy and what is called,
not torch. One at a time: a call waits for its answer, so that a process and its child use one core.

>>> call(divmod, 7, 3)
(2, 1)
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")

_START = "from rased.native import _serve; _serve(int(__import__('sys').argv[1]))"


class DiedError(Exception):
    """The process of a call ended before it answered; the text says how."""


def call(function: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """`function(*given, **named)` in the child of this process.

    Args:
        function: of a module that both processes can import; state that it keeps stays in the child.
        given: what can be sent: numbers, strings, arrays, tuples of them.
        named: the same by name.

    Raises:
        DiedError: the child ended without an answer. The next call gets a new one.
        Exception: what the function raised.
    """
    with _LOCK:
        answer, failure = _child().ask(function, given, named)
    if failure is not None:
        raise failure
    return answer


class _Child:
    """A process that answers calls until its end of the pipe is closed."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._pipe, theirs = Pipe()
        with theirs:
            path = os.pathsep.join(entry or "." for entry in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )

    def ask(self, function: Any, given: Any, named: Any) -> tuple[Any, Exception | None]:
        """The answer to one call, or what was raised."""
        try:
            self._pipe.send((function, given, named))
            answer: tuple[Any, Exception | None] = self._pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise DiedError(_ending(self._process.wait())) from None
        except BaseException:  # an interrupt leaves an answer that belongs to nobody
            self._process.kill()
            self.end()
            raise
        return answer

    def end(self) -> None:
        """Close the pipe: the process ends, and the next call starts another."""
        global _CHILD
        self._pipe.close()
        _CHILD = None

    def leave(self) -> None:
        """End the process, and wait until it has ended."""
        self.end()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_LOCK = threading.Lock()
_CHILD: _Child | None = None


def _child() -> _Child:
    """The child of this very process; one that a fork has left over belongs to the parent."""
    global _CHILD
    if _CHILD is None or _CHILD.owner != os.getpid():
        _CHILD = _Child()
    return _CHILD


@atexit.register
def _leave() -> None:
    """A child of this very process ends with it."""
    if _CHILD is not None and _CHILD.owner == os.getpid():
        _CHILD.leave()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _serve(descriptor: int) -> None:
    """In the child: answer calls until the parent is gone. Interrupts are the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)  # libraries print where answers of the parent go
    with suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = Connection(descriptor)
    while True:
        try:
            function, given, named = pipe.recv()
        except EOFError:
            return
        except Exception as error:
            pipe.send((None, error))
            continue
        try:
            answer: tuple[Any, Exception | None] = function(*given, **named), None
        except Exception as error:
            answer = None, error
        pipe.send(answer)
