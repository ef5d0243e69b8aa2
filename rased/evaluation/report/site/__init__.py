"""Write leaderboards as an HTML page: one folder that opens offline and loads nothing from the network."""

from rased.evaluation.report.site.page import write_page

__all__ = ["write_page"]
