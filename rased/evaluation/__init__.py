"""Score systems on test sets, and compare the results as a leaderboard in the terminal and as an HTML page."""

from rased.evaluation.collecting import collect
from rased.evaluation.report.site import write_page
from rased.evaluation.report.terminal import print_table
from rased.evaluation.result import Result
from rased.evaluation.scoring.run import evaluate

__all__ = ["Result", "collect", "evaluate", "print_table", "write_page"]
