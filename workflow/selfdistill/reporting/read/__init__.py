"""Runs, draws, curves and published numbers as the report reads them."""
