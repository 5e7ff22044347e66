"""All controls of pictures as one table."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.pictures import pictures_table

    table = pictures_table(list(snakemake.input))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} rows")
