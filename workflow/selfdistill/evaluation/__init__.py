"""Measures what a model can do: draws, their grading, and estimates with intervals."""
