"""The tokens on which teachers and untrained students of one task differ most."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.tokens import teachers_figure
    from selfdistill.reporting.render.csv_tables import read_csv

    top = read_csv(snakemake.input[0])
    top = top[top["task"] == snakemake.wildcards.task]
    write_figure(teachers_figure(top), *snakemake.output)
    report(f"{top['teacher'].nunique()} teachers")
