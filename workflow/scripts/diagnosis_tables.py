"""Tables of all diagnoses."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tokens.diagnosis import (
        diagnosis_classes,
        diagnosis_table,
        diagnosis_tokens,
        read_diagnosis,
    )

    cells = zip(snakemake.input, snakemake.params.cells, strict=True)
    found = [read_diagnosis(file, **cell) for file, cell in cells]
    write_csv(snakemake.output.table, diagnosis_table(found), "%.6g")
    write_csv(snakemake.output.classes, diagnosis_classes(found), "%.6g")
    write_csv(snakemake.output.tokens, diagnosis_tokens(found, snakemake.params.least_count), "%.6g")
    report(f"{len(found)} teachers")
