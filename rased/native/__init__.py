"""Run compiled third-party code in a separate process, so that a crash costs at most one value of a metric.

A C library can overwrite memory or end its process. `call` runs a function in a child process, which
stays alive for later calls and is replaced after a crash. The child imports numpy and the called module,
not torch. Calls are sequential: each waits for its answer, so a process and its child together use one core.
>>> call(divmod, 7, 3)
(2, 1)
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.reduction import ForkingPickler
from queue import LifoQueue
from typing import IO, Any, ParamSpec, TypeVar, cast

from rased import machine

Given = ParamSpec("Given")
Result = TypeVar("Result")

_START = "from rased.native import _serve; _serve()"


class DiedError(Exception):
    """The child process ended before it answered; the message says how."""


def call(function: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """Run `function(*given, **named)` in the child of this process.

    Args:
        function: a function of a module that both processes can import; its state stays in the child.
        given: arguments that can be sent: numbers, strings, arrays, tuples of them.
        named: the same, by name.

    Raises:
        DiedError: the child ended without an answer. The next call starts a new child.
        Exception: an exception of the function.
    """
    with _LOCK:
        answer, failure = _child().ask(function, given, named)
    if failure is not None:
        raise failure
    return answer


class Children:
    """Several child processes that work at the same time; they start when they are first needed, and stay.

    Args:
        count: largest number of processes; no more are started than there are calls at the same time.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: LifoQueue[_Child | None] = LifoQueue()  # running ones are on top
        for _ in range(count):
            self._free.put(None)  # a place without a process yet

    def each(
        self, function: Callable[..., Result], given: Sequence[tuple[Any, ...]]
    ) -> list[Result | DiedError]:
        """Return function(*arguments) for each tuple of arguments, in their order; see `call`.

        The result for arguments that end the child is the `DiedError`.

        Raises:
            Exception: an exception of the function.
        """
        with ThreadPoolExecutor(self.count) as threads:
            return list(threads.map(lambda arguments: self._ask(function, arguments), given))

    def end(self) -> None:
        """End the processes that are free; the next use starts others."""
        places = [self._free.get() for _ in range(self._free.qsize())]
        children = [child for child in places if child is not None and child.alive]
        for child in children:
            child.dismiss()
        for child in children:
            child.leave()
        for _ in places:
            self._free.put(None)

    def __del__(self) -> None:
        """End the processes."""
        self.end()

    def _ask(self, function: Callable[..., Result], given: tuple[Any, ...]) -> Result | DiedError:
        child = self._free.get()
        try:
            if child is None or not child.alive:
                child = _Child()
            answer, failure = child.ask(function, given, {})
        except DiedError as died:
            return died
        finally:
            # Put back also a dead child: the next use of the place starts a new one.
            self._free.put(child)
        if failure is not None:
            raise failure
        return cast(Result, answer)


class _Child:
    """A child process that answers calls until its pipe is closed."""

    def __init__(self) -> None:
        self.owner, self._open = os.getpid(), True
        path = os.pathsep.join(entry or "." for entry in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._calls = cast(IO[bytes], self._process.stdin)
        self._answers = cast(IO[bytes], self._process.stdout)

    @property
    def alive(self) -> bool:
        """Return whether it can be asked; after a fork, an inherited child belongs to the parent."""
        return self._open and self.owner == os.getpid()

    def ask(self, function: Any, given: Any, named: Any) -> tuple[Any, Exception | None]:
        """Return the answer to one call, or the exception that was raised."""
        try:
            _send((function, given, named), self._calls)
            answer: tuple[Any, Exception | None] = _receive(self._answers)
        except (EOFError, OSError):
            self.end()
            raise DiedError(_ending(self._process.wait())) from None
        except BaseException:
            # After an interrupt, the answer in the pipe would be taken for that of the next call.
            self._process.kill()
            self.end()
            raise
        return answer

    def end(self) -> None:
        """Close the pipes: the child ends, and the next call starts another one."""
        self._open = False
        for pipe in (self._calls, self._answers):
            with suppress(OSError):  # unsent data in the buffer of a broken pipe
                pipe.close()

    def dismiss(self) -> None:
        """Ask the child to end. A closed pipe is not enough: processes that were forked since hold it open."""
        if self._open:
            with suppress(OSError):
                _send(None, self._calls)
        self.end()

    def leave(self) -> None:
        """End the child, and wait for it."""
        self.dismiss()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_LOCK = threading.Lock()
_CHILD: _Child | None = None


def _child() -> _Child:
    """Return the child of this process."""
    global _CHILD
    if _CHILD is None or not _CHILD.alive:
        _CHILD = _Child()
    return _CHILD


@atexit.register
def _leave() -> None:
    """End the child of this process at exit."""
    if _CHILD is not None and _CHILD.alive:
        _CHILD.leave()


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _serve() -> None:
    """Run in the child: answer calls until the parent sends None or ends. Interrupts are handled by the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # libraries may print to stdout, which carries the answers
    machine.no_core_dumps()
    while True:
        try:
            asked = _receive(calls)
        except EOFError:
            return
        except Exception as error:
            answer: tuple[Any, Exception | None] = None, error
        else:
            if asked is None:
                return
            function, given, named = asked
            try:
                answer = function(*given, **named), None
            except Exception as error:
                answer = None, error
        _send(answer, answers)


def _send(what: Any, pipe: IO[bytes]) -> None:
    """Send an object like multiprocessing does, over any pipe."""
    content = bytes(ForkingPickler.dumps(what))
    pipe.write(len(content).to_bytes(8, "little"))
    pipe.write(content)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """Receive an object.

    Raises:
        EOFError: the other end was closed before the object was complete.
    """
    length = int.from_bytes(head := pipe.read(8), "little")
    content = pipe.read(length) if len(head) == 8 else b""
    if len(head) < 8 or len(content) < length:
        raise EOFError
    return ForkingPickler.loads(content)
