"""The best validation within hours of training beside the last one."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.within import within_table

    table = within_table(run_files(snakemake.params.runs))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} variants on their benchmarks")
