"""Response length, truncation and entropy beside accuracy."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import read_csv, write_csv
    from selfdistill.reporting.render.table import write_views
    from selfdistill.reporting.tables import behaviour as beside

    tasks, main = snakemake.params.tasks, read_csv(snakemake.input.main)
    table = beside.beside_table(main, run_files(snakemake.params.runs))
    views = beside.beside_views(table, snakemake.params.missing, main, tasks)
    write_csv(snakemake.output.csv, table)
    title = "Length, truncation and entropy beside accuracy"
    write_views(snakemake.output, "", title, views, beside.LEAD, beside.NOTHING)
    report(f"{len(table)} variants")
