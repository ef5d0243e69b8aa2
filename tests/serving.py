"""Servers on this machine, for tests of what fetches."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running(server) -> Iterator:
    """Let a server of `socketserver` serve in a thread until the end of the context; then it is closed."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
