"""The leaderboard as a page: one folder, opens from disk, nothing is fetched from elsewhere."""

from rased.evaluation.report.site.page import write_page

__all__ = ["write_page"]
