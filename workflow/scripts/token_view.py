"""Recorded rollouts of one task, token by token."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.html import write_page
    from selfdistill.reporting.tokens.page import token_page

    task = snakemake.wildcards.task
    page = token_page(run_files(snakemake.params.runs), task)
    write_page(snakemake.output[0], page)
    report(f"{task}: {len(page.encode()) / 1e6:.1f} MB")
