"""What is known of all data of the matrix, as a table and as a page."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.pages.data import write_report
    from selfdistill.tasks.data_report import DataFile, data_report

    files = [DataFile(**each) for each in snakemake.params.files]
    findings = data_report(files, [tuple(pair) for pair in snakemake.params.pairs])
    write_report(findings, snakemake.output.csv, snakemake.output.html)
    report(f"{len(files)} files, {len(findings)} findings")
