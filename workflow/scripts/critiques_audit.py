"""What the TC-RLSD note's numbers can resolve."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.critiques_audit import critiques_audit_line, critiques_audit_table

    table = critiques_audit_table()
    write_csv(snakemake.output[0], table)
    report(critiques_audit_line(table))
