"""Write leaderboards as an HTML page: one folder that opens offline and loads nothing from the network."""

from typing import TYPE_CHECKING

from rased.exports import Homes, lazily

if TYPE_CHECKING:
    from rased.evaluation.report.site.page import write_page as write_page

# `rased app` draws its pictures with a module of this package, and must not need what the board needs.
_HOMES: Homes = {"page": ("write_page",)}
__all__, __getattr__, __dir__ = lazily(__name__, _HOMES)
