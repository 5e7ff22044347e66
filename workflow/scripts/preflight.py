"""Measure a base model under the contexts of a task's pre-flight, and judge it."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.evaluation.preflight import run_preflight
    from selfdistill.evaluation.preflight_verdict import judge, write_verdict

    torch.set_num_threads(snakemake.threads)
    given, limits = snakemake.input, snakemake.params.limits
    rows = run_preflight(snakemake.params.settings, given.train, given.base_model, report)
    findings = judge(rows, limits)
    write_verdict(snakemake.output.table, snakemake.output.verdict, rows, findings)
    for finding in findings:
        report(f"{'met' if finding.met else 'NOT MET'}: {finding.said}")
