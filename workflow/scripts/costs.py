"""What the runs cost, from their provenance, metrics and evaluations' accounts."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.costs import costs_table, total_line

    table = costs_table(run_files(snakemake.params.runs))
    write_csv(snakemake.output[0], table)
    report(total_line(table))
