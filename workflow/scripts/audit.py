"""What does not fit together in the paper's published tables."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.audit import audit_line, audit_table

    table = audit_table()
    write_csv(snakemake.output[0], table)
    report(audit_line(table))
