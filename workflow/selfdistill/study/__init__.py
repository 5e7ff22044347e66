"""What is read while Snakemake plans: the configuration, its runs, and their files. Nothing heavy is imported."""
