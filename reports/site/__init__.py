"""The HTML site: one file with pages, a leaderboard to sort and filter, and a picture browser."""
