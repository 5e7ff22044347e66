"""LiveCodeBench beside what SDPO's paper prints of it."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables.sdpo_code import sdpo_code_table

    table = sdpo_code_table(run_files(snakemake.params.runs))
    write_csv(snakemake.output[0], table)
    report(f"{len(table)} numbers")
