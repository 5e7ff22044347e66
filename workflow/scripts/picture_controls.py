"""Ask a base model with its own pictures, with blank and with swapped ones."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.evaluation.picture_controls import run_controls
    from selfdistill.files import write_json

    torch.set_num_threads(snakemake.threads)
    given, params = snakemake.input, snakemake.params
    rows = run_controls(params.settings, given.train, given.base_model, report)
    write_json(snakemake.output[0], {**dict(snakemake.wildcards.items()), "rows": rows})
