"""Warm-start a pretrained model for a task."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.models.base_model import warm_start_pretrained

    torch.set_num_threads(snakemake.threads)
    task = snakemake.wildcards.task
    recipe = snakemake.params.model["warm_start"][task]
    warm_start_pretrained(snakemake.input[0], recipe, task, snakemake.output[0], report)
