"""Put a task's base model in place: copied and checked, or rebuilt from its recipe."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.models.base_model import provide

    torch.set_num_threads(snakemake.threads)
    provide(snakemake.params.model, snakemake.wildcards.task, snakemake.output[0], report)
