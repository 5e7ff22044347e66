"""All pre-flights as one table."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.preflight import preflight_table

    table = preflight_table(list(snakemake.input))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} contexts")
