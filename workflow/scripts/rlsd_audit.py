"""Which splits the published table of RLSD's paper can have been measured on."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.rlsd_audit import rlsd_audit_line, rlsd_audit_table

    table = rlsd_audit_table()
    write_csv(snakemake.output[0], table)
    report(rlsd_audit_line(table))
