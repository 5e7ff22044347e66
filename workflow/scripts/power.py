"""What differences the study can see."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.read.accuracy import read_groups
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.render.table import write_views
    from selfdistill.reporting.tables import power_views
    from selfdistill.reporting.tables.power import power_table

    tasks = snakemake.params.tasks
    table = power_table(read_groups(run_files(snakemake.params.runs), tasks), tasks)
    write_csv(snakemake.output.csv, table)
    views = power_views.power_views(table, tasks)
    title = "What these seeds and draws can see"
    write_views(snakemake.output, "", title, views, power_views.LEAD, power_views.NOTHING)
    report(f"{len(table)} rows")
