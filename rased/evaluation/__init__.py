"""Score systems on test sets, and compare the results as a leaderboard in the terminal and as an HTML page."""

from typing import TYPE_CHECKING

from rased.exports import Homes, lazily

if TYPE_CHECKING:
    from rased.evaluation.collecting import collect as collect
    from rased.evaluation.report.site import write_page as write_page
    from rased.evaluation.report.terminal import print_table as print_table
    from rased.evaluation.result import Result as Result
    from rased.evaluation.scoring.run import evaluate as evaluate

# The processes that an evaluation starts import no reports.
_HOMES: Homes = {
    "collecting": ("collect",),
    "report.site": ("write_page",),
    "report.terminal": ("print_table",),
    "result": ("Result",),
    "scoring.run": ("evaluate",),
}
__all__, __getattr__, __dir__ = lazily(__name__, _HOMES)
