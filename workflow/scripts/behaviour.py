"""Response length, truncation and entropy beside accuracy."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import read_csv, write_csv
    from selfdistill.reporting.tables.behaviour import behaviour_table

    table = behaviour_table(read_csv(snakemake.input.main), run_files(snakemake.params.runs))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} variants")
