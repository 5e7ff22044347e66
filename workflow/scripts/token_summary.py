"""What tables take of one run's records."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.tokens.summaries import summarise, write_frame

    (records,), output = snakemake.input, snakemake.output
    summary = summarise(records, snakemake.params.partition)
    write_frame(output.classes, summary.classes)
    write_frame(output.tokens, summary.tokens)
    write_frame(output.rollouts, summary.rollouts)
    report(f"{summary.classes['tokens'].sum():.0f} tokens, {len(summary.tokens)} different")
