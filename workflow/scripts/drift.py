"""How the paper's own numbers moved between its versions."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.drift import drift_line, drift_table

    table = drift_table()
    write_csv(snakemake.output[0], table)
    report(drift_line(table))
