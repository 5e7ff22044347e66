"""Tables of what teachers said token by token."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.files import write_text
    from selfdistill.reporting.tokens.rollout_tables import certain_table, signals_table, signs_table
    from selfdistill.reporting.tokens.summaries import read_frame
    from selfdistill.reporting.tokens.tables import as_csv, tokens_table, top_tokens_table

    runs = run_files(snakemake.params.runs)
    classes, tokens, rollouts = (
        [(run, read_frame(file)) for run, file in zip(runs, files, strict=True)]
        for files in (snakemake.input.classes, snakemake.input.tokens, snakemake.input.rollouts)
    )
    table = tokens_table(classes)
    write_text(snakemake.output.tokens, as_csv(table))
    write_text(snakemake.output.top, as_csv(top_tokens_table(tokens, partition=snakemake.params.partition)))
    write_text(snakemake.output.signals, as_csv(signals_table(rollouts)))
    write_text(snakemake.output.signs, as_csv(signs_table(rollouts)))
    write_text(snakemake.output.certain, as_csv(certain_table(rollouts)))
    report(f"{len(runs)} runs, {table['tokens'].sum():.0f} tokens")
