"""From weights to masks: prediction and decision rules. The search of their thresholds is in `kit.thresholds`."""
