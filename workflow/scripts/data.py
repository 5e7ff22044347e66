"""The problems of one dataset and split: generated, fetched from the hub, or taken over from a folder of the user's."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.tasks.datasets import by_benchmark
    from selfdistill.tasks.sources import make_data

    params, output, split = snakemake.params, snakemake.output[0], snakemake.wildcards.split
    problems = make_data(
        params.recipe,
        output,
        split=split,
        files=list(snakemake.input),
        missing=params.missing,
        grader=params.grader,
        own_prompts=params.own_prompts,
        report=report,
    )
    # A validation file is named by its benchmarks, joined by +, which their names may have too.
    if split == "val" and not any("+" in each.data_source for each in problems):
        by_benchmark((*snakemake.input, output)[0], problems, snakemake.wildcards.dataset.split("+"))
    report(f"{output}: {len(problems)} problems")
