"""Foundations of all other packages: errors, files, progress, resumable arrays, processes."""
