"""From weights to masks: prediction, decision rules, and the search of their thresholds."""
