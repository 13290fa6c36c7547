"""Reads results and shows them: tables, figures, statistics, the leaderboard and the HTML page."""
