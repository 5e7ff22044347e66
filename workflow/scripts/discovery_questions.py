"""Choose the questions of every set of a task, by the untrained model's draws or by their indices."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.reporting.render.csv_tables import write_csv
    from selfdistill.training.discovery.questions import choose_questions, indices_of, read_questions

    given, settings = snakemake.input, snakemake.params.settings
    questions = read_questions(given.train, given.val, settings["run"], indices_of(settings["sets"]))
    chosen = choose_questions(
        questions, given.draws, settings["sets"], settings["pass_at"], settings["selection_draws"]
    )
    write_csv(snakemake.output[0], chosen)
    members = {name: int(chosen[f"set:{name}"].sum()) for name in settings["sets"]}
    report(f"{len(chosen)} of {len(questions)} questions: {members}")
