"""Put a task's base model in place: copied and checked, or rebuilt from its recipe."""

from pathlib import Path

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.models.base_model import provide

    torch.set_num_threads(snakemake.threads)
    settings = dict(snakemake.params.model)
    if snakemake.input:  # <folder>/<task>/model.safetensors, also where the folder ships with the workflow
        settings["folder"] = str(Path(snakemake.input[0]).parents[1])
    provide(settings, snakemake.wildcards.task, snakemake.output[0], report)
