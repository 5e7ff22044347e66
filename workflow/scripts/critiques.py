"""What critics wrote in training, and what it did to the teacher."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.critiques import critiques_table

    table = critiques_table(run_files(snakemake.params.runs))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} variants")
