"""Two graders on the same draws."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.graders import graders_table

    graders = {task: tuple(names) for task, names in snakemake.params.graders.items()}
    table = graders_table(run_files(snakemake.params.runs), graders)
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} variants on their benchmarks")
