"""Benchmarks whose rows are judged in groups."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.groups import groups_table

    table = groups_table(run_files(snakemake.params.runs), snakemake.params.tasks)
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} rows")
