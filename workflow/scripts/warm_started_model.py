"""Warm-start a pretrained model for a task."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.models.base_model import warm_start_pretrained
    from selfdistill.models.chat import ChatSettings

    torch.set_num_threads(snakemake.threads)
    task = snakemake.wildcards.task
    settings = snakemake.params.model
    recipe, chat = settings["warm_start"][task], ChatSettings(**settings["chat"])
    warm_start_pretrained(snakemake.input[0], recipe, task, snakemake.output[0], report, chat)
