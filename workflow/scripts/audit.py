"""What does not fit together in the paper's published tables."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.files import write_text
    from selfdistill.reporting.audit import audit_line, audit_table, audit_views
    from selfdistill.reporting.formats import markdown
    from selfdistill.reporting.tables import write_csv

    table = audit_table()
    write_csv(snakemake.output.csv, table)
    write_text(snakemake.output.markdown, markdown(audit_views(table), audit_line(table), audit_line(table)))
    report(audit_line(table))
