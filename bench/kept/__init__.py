"""Figures of a run, kept as JSON, beside those of the run before."""
