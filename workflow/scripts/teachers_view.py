"""Rollouts of untrained students of one task, token by token, with what each teacher says of them."""

from pathlib import Path

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.read.runs import RunFiles
    from selfdistill.reporting.render.html import write_page
    from selfdistill.reporting.tokens.page import token_page

    cells = zip(snakemake.input, snakemake.params.cells, strict=True)
    teachers = [
        RunFiles(cell["task"], cell["model"], cell["teacher"], 0, cell["teacher"], draws={}, records=Path(file))
        for file, cell in cells
    ]
    page = token_page(teachers, snakemake.wildcards.task)
    write_page(snakemake.output[0], page)
    report(f"{len(teachers)} teachers, {len(page.encode()) / 1e6:.1f} MB")
