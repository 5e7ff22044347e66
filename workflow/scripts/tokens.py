"""Tables of what teachers said token by token."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.files import write_text
    from selfdistill.reporting.tokens import as_csv, summaries, tokens_table, top_tokens_table

    runs = run_files(snakemake.params.runs)
    found = summaries(runs)
    table = tokens_table(found)
    write_text(snakemake.output.tokens, as_csv(table))
    write_text(snakemake.output.top, as_csv(top_tokens_table(found)))
    report(f"{len(found)} of {len(runs)} runs, {table['tokens'].sum():.0f} tokens")
