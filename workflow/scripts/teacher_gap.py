"""The gap between student and self-teacher before any training."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.training.teacher_gap import measure_gap

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    measure_gap(
        params.run,
        train_file=snakemake.input.train,
        base_model=snakemake.input.base_model,
        engine=params.engine,
        prompts=params.prompts,
        output=snakemake.output[0],
        report=report,
    )
