"""What the teachers of one task say."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.training import signals_figure

    runs = run_files(snakemake.params.runs)
    write_figure(signals_figure(runs), *snakemake.output)
    report(f"{len(runs)} runs")
