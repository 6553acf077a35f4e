"""The competition's formats and rules: RLE, DICOM, labels, folder layouts, scores, submissions."""
