"""Where results go: the leaderboard, the ledger, Kaggle."""
