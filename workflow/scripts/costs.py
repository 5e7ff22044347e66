"""What the runs cost, from their provenance, metrics and evaluations' accounts."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.render.table import write_views
    from selfdistill.reporting.tables.costs import cost_views, costs_table, total_line

    table = costs_table(run_files(snakemake.params.runs))
    write_csv(snakemake.output.csv, table)
    total = total_line(table)
    write_views(snakemake.output, "", "What it cost", cost_views(table), total, total)
    report(total)
