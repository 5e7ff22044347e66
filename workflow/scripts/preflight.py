"""Measure a base model under the contexts of a pre-flight, and judge it."""

from job import job

with job(snakemake.log[0]) as report:
    import torch

    from selfdistill.training.preflight.measure import run_preflight
    from selfdistill.training.preflight.verdict import judge, write_preflight

    torch.set_num_threads(snakemake.threads)
    given, params = snakemake.input, snakemake.params
    external = {"critic": given.critic} if given.get("critic") else {}
    rows = run_preflight(params.settings, given.train, given.base_model, report, external)
    findings = judge(rows, params.limits)
    write_preflight(snakemake.output[0], dict(snakemake.wildcards.items()), rows, findings)
    for finding in findings:
        report(f"{'met' if finding.met else 'NOT MET'}: {finding.said}")
