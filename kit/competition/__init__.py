"""What the competition gives and takes: RLE, DICOM, labels, layouts, scores, submissions, phantoms."""
