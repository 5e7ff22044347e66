"""One-sided against contrastive hints in the trainings of one task."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.figures.panels import write_figure
    from selfdistill.reporting.figures.training import contrast_figure
    from selfdistill.reporting.read.landmarks import landmarks

    runs = run_files(snakemake.params.runs)
    blocks = dict.fromkeys((run.model, run.task) for run in runs)
    published = [point for block in blocks for point in landmarks(*block, snakemake.params.version)]
    write_figure(contrast_figure(runs, published), *snakemake.output)
    report(f"{len(runs)} runs, {len(published)} published points")
