"""What a job, and its user, must know of Slurm beyond what Snakemake's executor does."""
