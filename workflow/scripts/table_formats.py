"""Markdown, LaTeX and HTML of a table, from its CSV."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.pages.table_formats import read_missing, write_formats

    table, given = snakemake.wildcards.table, snakemake.input
    write_formats(table, given.csv, read_missing(given.missing), snakemake.params.tasks, snakemake.output)
    report(table)
