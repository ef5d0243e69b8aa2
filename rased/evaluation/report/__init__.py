"""Show leaderboards in a terminal, as Markdown, and as an HTML page."""
