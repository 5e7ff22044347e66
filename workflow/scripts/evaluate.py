"""Evaluate one run on all benchmarks of its task."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.evaluation.evaluate import evaluate_run

    torch.set_num_threads(snakemake.threads)
    task = snakemake.params.task
    evaluate_run(
        snakemake.input.model,
        snakemake.input.val,
        task,
        int(snakemake.wildcards.seed),
        dict(zip(task["benchmarks"], snakemake.output, strict=True)),
        report,
    )
