"""Bars of one task's benchmarks."""

from job import job

with job(snakemake.log[0]) as report:
    import pandas as pd

    from selfdistill.reporting.figures import benchmarks_figure, write_figure

    name = snakemake.wildcards.task
    table = pd.read_csv(snakemake.input[0])
    write_figure(benchmarks_figure(table[table["task"] == name], snakemake.params.methods), *snakemake.output)
    report(f"{name}: {len(snakemake.params.methods)} variants")
