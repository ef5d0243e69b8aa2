"""Systems x test set x metrics -> results -> leaderboard, in the terminal and as a page."""

from rased.evaluation.collecting import collect
from rased.evaluation.leaderboard import print_table
from rased.evaluation.result import Result
from rased.evaluation.run import evaluate
from rased.evaluation.site import write_page

__all__ = ["Result", "collect", "evaluate", "print_table", "write_page"]
