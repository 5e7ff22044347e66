"""Handles what Snakemake's executor leaves open under Slurm: time limits, leftover jobs, and the profile's link."""
