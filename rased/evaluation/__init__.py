"""Systems x test set x metrics -> results -> leaderboard, in the terminal and as a page."""

from rased.evaluation.collecting import collect
from rased.evaluation.report.site import write_page
from rased.evaluation.report.terminal import print_table
from rased.evaluation.result import Result
from rased.evaluation.scoring.run import evaluate

__all__ = ["Result", "collect", "evaluate", "print_table", "write_page"]
