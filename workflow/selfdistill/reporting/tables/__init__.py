"""Computes the numbers of every table, one CSV each."""
