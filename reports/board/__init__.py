"""The leaderboard: variants ranked, what the evidence separates, and their cost."""
