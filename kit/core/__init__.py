"""What every room stands on: errors, files, progress, resumable arrays, processes."""
