"""Performance profiles of the benchmarks of one task."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.profiles import profiles_figure
    from selfdistill.reporting.render.csv_tables import read_csv

    table = read_csv(snakemake.input[0])
    table = table[table["task"] == snakemake.wildcards.task]
    write_figure(profiles_figure(table, snakemake.params.methods), *snakemake.output)
    report(f"{len(snakemake.params.methods)} variants")
