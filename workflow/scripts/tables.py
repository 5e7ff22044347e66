"""Tables of all runs, from their draws."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    from selfdistill.files import write_text
    from selfdistill.reporting import tables

    output, tasks = snakemake.output, snakemake.params.tasks
    groups = tables.read_groups(run_files(snakemake.params.runs, tasks), tasks)
    main, gains = tables.main_table(groups, tasks), tables.gains_table(groups, tasks)
    tables.write_csv(output.main, main)
    tables.write_csv(output.gains, gains)
    write_text(output.main_markdown, tables.main_markdown(main))
    write_text(output.gains_markdown, tables.gains_markdown(gains))
    report(f"{len(groups)} variants, {len(main)} rows of results, {len(gains)} of gains")
