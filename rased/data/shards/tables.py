"""Lists that may be larger than memory, in temporary files."""

import sqlite3
import weakref

_CACHE_KB = 256


def temporary_table(owner: object) -> sqlite3.Connection:
    """Open an empty database in a temporary file (in TMPDIR), which is deleted with its owner.

    It uses a few hundred kilobytes of memory for any amount of data.
    """
    # An empty name: a temporary file that SQLite deletes itself. No isolation level: no transactions to end.
    table = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    weakref.finalize(owner, table.close)
    table.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
    # The table does not outlive the process, so nothing needs to survive a crash.
    table.execute("PRAGMA synchronous = OFF")
    table.execute("PRAGMA journal_mode = OFF")
    return table
