"""What the teachers of one task say."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures import signals_figure, write_figure

    name = snakemake.wildcards.task
    runs = run_files(snakemake.params.runs, {name: snakemake.params.task})
    write_figure(signals_figure(runs), *snakemake.output)
    report(f"{name}: {len(runs)} runs")
