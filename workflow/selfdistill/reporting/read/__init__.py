"""Reads runs, draws, curves and published numbers for the report."""
