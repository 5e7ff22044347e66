"""Turns draws and metrics into tables, figures, verdicts on claims, and pages."""
