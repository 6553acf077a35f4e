"""Losses, schedules, weight averaging and the training loop of a stage."""
