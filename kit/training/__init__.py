"""Losses, schedules, weight averaging and the loop of a stage."""
