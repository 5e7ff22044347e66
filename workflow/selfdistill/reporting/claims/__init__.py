"""Holds claims of papers as data (one file a paper), and judges them on what was run."""
