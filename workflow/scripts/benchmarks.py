"""Bars of the benchmarks of one task or of one model."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.benchmarks import benchmarks_figure
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.render.csv_tables import read_csv

    table = read_csv(snakemake.input[0])
    for axis, name in snakemake.wildcards.items():  # task or model
        table = table[table[axis] == name]
    write_figure(benchmarks_figure(table, snakemake.params.methods), *snakemake.output)
    report(f"{len(snakemake.params.methods)} variants")
