"""The exact search for decision rules on maps with known truth."""
