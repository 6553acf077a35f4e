"""Figures and pages about runs, made from the files of the runs alone."""
