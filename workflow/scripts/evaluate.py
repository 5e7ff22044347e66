"""Evaluate one run on all benchmarks that its task asks for, or go on with it, or publish it again."""

from job import job

with job(snakemake.log[0], snakemake.params.state) as report:
    from pathlib import Path

    import torch

    from selfdistill.cluster.time_limit import requeued_before_limit
    from selfdistill.evaluation.job import CHECKPOINTS, evaluate_job

    torch.set_num_threads(snakemake.threads)
    task, state = snakemake.params.task, snakemake.params.state
    with requeued_before_limit(state, CHECKPOINTS, report):
        evaluate_job(
            {**snakemake.wildcards, "seed": int(snakemake.wildcards.seed)},
            snakemake.input.model,
            snakemake.input.val,
            task,
            state_dir=state,
            also=dict(zip(task.get("also", {}), snakemake.input.also, strict=True)),
            outputs={Path(file).stem: file for file in snakemake.output.draws},
            account=snakemake.output.account,
            gpus=snakemake.resources.gpus,
            report=report,
        )
