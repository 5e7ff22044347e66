"""Reads the configuration, its runs and their files while Snakemake plans. Imports nothing heavy."""
