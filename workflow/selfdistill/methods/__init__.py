"""Describes methods without their losses: settings, published values, papers, look. Imports nothing heavy."""
