"""Predicted memory of a run (`estimate`), available memory (`available`), and the layout that fits
(`choice`)."""
