"""The offline Kaggle kernel: bundle, script, rehearsal, push."""
