"""All measured gaps between student and self-teacher."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.gaps import gaps_table

    table = gaps_table(list(snakemake.input))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} gaps")
