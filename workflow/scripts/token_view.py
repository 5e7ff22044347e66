"""Recorded rollouts of one task, token by token."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.html import write_page
    from selfdistill.reporting.tokens.page import token_page
    from selfdistill.reporting.tokens.summaries import read_frame

    task = snakemake.wildcards.task
    runs = run_files(snakemake.params.runs)
    sizes = {run.name: read_frame(file) for run, file in zip(runs, snakemake.input.rollouts, strict=True)}
    page = token_page(runs, task, sizes)
    write_page(snakemake.output[0], page)
    report(f"{task}: {len(page.encode()) / 1e6:.1f} MB")
