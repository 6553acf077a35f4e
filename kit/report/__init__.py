"""Figures and pages about runs; reads artefacts only."""
