"""discovery@k over attempts, of one task and model."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.discovery import discovery_figure
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.render.csv_tables import read_csv

    table, of = read_csv(snakemake.input[0]), snakemake.wildcards
    table = table[(table["task"] == of.task) & (table["model"] == of.model)]
    write_figure(discovery_figure(table), *snakemake.output)
    report(f"{len(table)} points")
