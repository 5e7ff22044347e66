"""Reads the published numbers of SDPO's own paper (arXiv 2601.20802), by this project's names of variants.

Its release has two tables of one experiment: at v1.0.0, and at commit 0e6d510, where Chemistry and Biology
were made anew on questions that had been filtered again.
"""

from selfdistill.reporting.read.published import FOLDER, read_published

#: The benchmark and the model of the numbers on code, and the step at which the paper's curves end.
CODE_BENCHMARK, CODE_MODEL, CODE_STEPS = "livecodebench", "qwen3_8b", 90
RESULTS, CODE = FOLDER / "sdpo_results.csv", FOLDER / "sdpo_code.csv"
#: Publications of the table, the older first.
VERSIONS = ("1.0.0", "0e6d510")
#: Hours of step time within which the best validation counts.
HOURS = (1, 5)
#: Here -> in the paper.
MODELS = {"qwen3_8b": "Qwen3-8B", "olmo3_7b_instruct": "Olmo-3-7B-Instruct"}
VARIANTS = {
    "base": "base",
    "grpo-sdpo": "grpo",
    "grpo-sdpo-on_policy": "grpo_on_policy",
    "sdpo_official-siblings": "sdpo",
}


def published_best(model: str, variant: str, benchmark: str, hours: int) -> dict[str, float]:
    """Version -> percent of the best avg@16 within so many hours; of the base, which is not trained, its accuracy.

    Empty but for the paper's models, variants and benchmarks. Raises UserError for a file that was edited wrongly.
    """
    asked = (MODELS.get(model), VARIANTS.get(variant), benchmark)
    return {
        row["version"]: float(row["percent"])
        for row in sdpo_results()
        if (row["model"], row["method"], row["benchmark"]) == asked and row["hours"] in ("", str(hours))
    }


def sdpo_results() -> tuple[dict[str, str], ...]:
    """All rows of the tables in the paper's names, as texts: version, model, method, benchmark, hours, percent."""
    return read_published(RESULTS, "version", "model", "method", "benchmark", "hours", "percent")


def sdpo_code() -> tuple[dict[str, str], ...]:
    """Return all rows of LiveCodeBench, as texts: variant (ours), measure, percent, place in the paper.

    Measures: best and mean of the validations to step 90, the end of the curve, and its value at step 60 or 80. Neither
    README has them; they are the paper's.
    """
    return read_published(CODE, "variant", "measure", "percent", "place")
