"""The problems of one dataset and split: generated, fetched from the hub, or taken over from a folder of the user's."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.tasks.sources import make_data

    params, output = snakemake.params, snakemake.output[0]
    problems = make_data(
        params.recipe,
        output,
        split=snakemake.wildcards.split,
        files=list(snakemake.input),
        missing=params.missing,
        grader=params.grader,
        own_prompts=params.own_prompts,
        report=report,
    )
    report(f"{output}: {len(problems)} problems")
