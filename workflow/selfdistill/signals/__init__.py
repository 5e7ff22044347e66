"""Builds the teacher's signal: hints and their choice, teacher weights, scores under hinted contexts."""
