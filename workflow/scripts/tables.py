"""The main results and the gains, from the draws of all runs, in every format."""

from job import job, run_files

with job(snakemake.log[0]) as report:
    import pandas as pd

    from selfdistill.reporting.read.accuracy import read_groups
    from selfdistill.reporting.render import cells as views
    from selfdistill.reporting.render import table as formats
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.reporting.tables import accuracy as tables

    output, tasks, missing = snakemake.output, snakemake.params.tasks, snakemake.params.missing
    groups = read_groups(run_files(snakemake.params.runs), tasks)
    main, gains = tables.main_table(groups, tasks), tables.gains_table(groups, tasks)
    for name, title, table, shown, lead, empty in (
        ("main", "Main results", main, views.main_views, views.main_lead(main), views.NOTHING),
        ("gains", "Gains over base and grpo", gains, views.gains_views, views.GAINS_LEAD, views.NO_REFERENCE),
    ):
        write_csv(output[name], table)
        found = shown(table, missing, tasks)
        formats.write_views(output, f"{name}_", title, found, lead, empty)
    write_csv(output.missing, pd.DataFrame(missing, columns=list(tables.MISSING_COLUMNS)))
    report(f"{len(groups)} variants, {len(main)} rows of results, {len(gains)} of gains; {len(missing)} runs missing")
