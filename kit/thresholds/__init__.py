"""The exact search for decision rules on probability maps with known ground truth."""
