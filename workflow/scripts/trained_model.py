"""Put the model that a run has trained in place as a model of its own."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.models.pretrained_model import take_over_run

    take_over_run(snakemake.input[0], snakemake.output[0], report)
