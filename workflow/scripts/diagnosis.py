"""Compare a teacher with the untrained student, token by token."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.training.diagnosis import diagnose

    torch.set_num_threads(snakemake.threads)
    given = snakemake.input
    diagnose(
        snakemake.params.diagnosis,
        train_file=given.train,
        student=given.student,
        teacher=given.teacher,
        output=snakemake.output[0],
        batch_tokens=snakemake.params.batch_tokens,
        report=report,
    )
