"""What tables and the token view take of one run's records."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.tokens.packing import rollout_sizes
    from selfdistill.reporting.tokens.summaries import summarise, write_frame

    (records,), output = snakemake.input, snakemake.output
    summary, rollouts = summarise(records), rollout_sizes(records)
    write_frame(output.classes, summary.classes)
    write_frame(output.tokens, summary.tokens)
    write_frame(output.rollouts, rollouts)
    report(f"{len(rollouts)} rollouts, {summary.classes['tokens'].sum():.0f} tokens, {len(summary.tokens)} different")
