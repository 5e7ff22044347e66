"""Put a base model in place: a task's, copied and checked or rebuilt from its recipe, or one for all tasks."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.training.base_model import fetch, provide

    torch.set_num_threads(snakemake.threads)
    settings = snakemake.params.model
    if "source" in settings:
        fetch(settings, snakemake.output[0], report)
    else:
        provide(settings, snakemake.wildcards.task, snakemake.output[0], report)
