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
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, ParamSpec, TypeVar, cast

from rased import machine

Given = ParamSpec("Given")
Result = TypeVar("Result")

_START = "from rased.native import _serve; _serve()"


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
        path = os.pathsep.join(entry or "." for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._calls = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)

    def ask(self, function: Any, given: Any, named: Any) -> tuple[Any, Exception | None]:
        """The answer to one call, or what was raised."""
        try:
            _send((function, given, named), self._calls)
            answer: tuple[Any, Exception | None] = _receive(self._answers)
        except (EOFError, OSError):
            self.end()
            raise DiedError(_ending(self._process.wait())) from None
        except BaseException:  # an interrupt leaves an answer that belongs to nobody
            self._process.kill()
            self.end()
            raise
        return answer

    def end(self) -> None:
        """Close the pipes: the process ends, and the next call starts another."""
        global _CHILD
        for pipe in (self._calls, self._answers):
            with suppress(OSError):  # what could not be sent any more
                pipe.close()
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


def _serve() -> None:
    """In the child: answer calls until the parent is gone. Interrupts are the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # libraries print where answers of the parent go
    machine.no_core_dumps()
    while True:
        try:
            function, given, named = _receive(calls)
        except EOFError:
            return
        except Exception as error:
            answer: tuple[Any, Exception | None] = None, error
        else:
            try:
                answer = function(*given, **named), None
            except Exception as error:
                answer = None, error
        _send(answer, answers)


def _send(what: Any, pipe: IO[bytes]) -> None:
    """As multiprocessing sends between a process and its child, over any two pipes."""
    content = bytes(ForkingPickler.dumps(what))
    pipe.write(len(content).to_bytes(8, "little"))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """What was sent.

    Raises:
        EOFError: the other end is closed, or was closed before all of it came.
    """
    length = int.from_bytes(head := pipe.read(8), "little")
    content = pipe.read(length) if len(head) == 8 else b""
    if len(head) < 8 or len(content) < length:
        raise EOFError
    return ForkingPickler.loads(content)
