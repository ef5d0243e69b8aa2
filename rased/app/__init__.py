"""A page to drop or record audio, compare models at the same position, and download what they return.

The server is the standard library's, for this machine alone; the page loads nothing from the network.
"""

from rased.app.desk import Desk
from rased.app.server import Server

__all__ = ["Desk", "Server"]
