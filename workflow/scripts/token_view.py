"""Recorded rollouts of one task, token by token."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.html import write_page
    from selfdistill.reporting.token_summaries import read_frame
    from selfdistill.reporting.token_view import token_page

    task = snakemake.wildcards.task
    runs = run_files(snakemake.params.runs)
    sizes = {run.name: read_frame(file) for run, file in zip(runs, snakemake.input.rollouts, strict=True)}
    page = token_page(runs, task, sizes)
    write_page(snakemake.output[0], page)
    report(f"{task}: {len(page.encode()) / 1e6:.1f} MB")
