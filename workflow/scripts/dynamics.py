"""Training dynamics of one task."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures import dynamics_figure, write_figure

    name, settings = snakemake.wildcards.task, snakemake.params.task
    runs = run_files(snakemake.params.runs, {name: settings})
    write_figure(dynamics_figure(runs, settings), *snakemake.output)
    report(f"{name}: {len(runs)} runs")
