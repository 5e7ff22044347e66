"""Training dynamics of one task or of one model."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.training import dynamics_figure
    from selfdistill.reporting.read.landmarks import landmarks

    tasks = snakemake.params.tasks
    runs = run_files(snakemake.params.runs)
    blocks = dict.fromkeys((run.model, run.task) for run in runs)
    published = [point for block in blocks for point in landmarks(*block, snakemake.params.version)]
    write_figure(dynamics_figure(runs, tasks, published), *snakemake.output)
    report(f"{len(runs)} runs, {len(published)} published points")
