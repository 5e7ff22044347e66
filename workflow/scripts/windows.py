"""Dynamics by window of training steps."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.windows import windows_table

    params = snakemake.params
    table = windows_table(run_files(params.runs), params.tasks, params.version)
    write_csv(snakemake.output[0], table.round(4))
    report(f"{len(table)} windows")
