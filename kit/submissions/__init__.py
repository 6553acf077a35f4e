"""The ledger, the local leaderboard, and submitting."""
