"""What does not fit together in the paper's published tables."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.render.table import write_views
    from selfdistill.reporting.tables.audit import audit_line, audit_table, audit_views

    table = audit_table()
    write_csv(snakemake.output.csv, table)
    line = audit_line(table)
    write_views(snakemake.output, "", "Audit of the published tables", audit_views(table), line, line)
    report(line)
