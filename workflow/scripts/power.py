"""What differences the study can see."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.power import power_table
    from selfdistill.reporting.tables import read_groups, write_csv

    tasks = snakemake.params.tasks
    table = power_table(read_groups(run_files(snakemake.params.runs), tasks), tasks)
    write_csv(snakemake.output.csv, table)
    report(f"{len(table)} rows")
