"""What does not fit together in the published tables of SDPO's paper."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.sdpo_audit import sdpo_audit_line, sdpo_audit_table

    table = sdpo_audit_table()
    write_csv(snakemake.output[0], table)
    report(sdpo_audit_line(table))
