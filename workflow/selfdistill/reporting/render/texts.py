"""How each table is to be read: for its pages and for the report's captions. Snakemake imports it while it plans."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Behind a value that is tied with the best.
TIED_SIGN = "≈"
DASH = "\u2013"

_INTERVAL = "95 % interval: other problems of the same kind and, from two seeds on, other seeds"
_OVER = "95 % interval over problems and, from two seeds on, over seeds"
_FIXED = "low_fixed and high_fixed speak of just these problems"
UNEQUAL = (
    "Where one of the two was trained with one seed and the other with several, it is taken to vary as the other does; "
    "base, which is not trained, has no seeds."
)
_NOT_COMPARED = "Neither base nor grpo was run beside another variant, so there is"

#: The methods that only distil, and the contrastive plug-ins: these may collapse, and nothing is done about it.
SHOWN_AS_THEY_ARE = ("opsd", "sdpo", "opsd_ectr", "rlsd_ectr")


def demonstration(tasks: Sequence[str]) -> str:
    """What ends every caption where some tasks have generated problems, in reStructuredText; else nothing."""
    if not tasks:
        return ""
    return (
        f"Generated problems and small models ({', '.join(tasks)}) are a demonstration of the pipeline, **not "
        "evidence for the paper's ranking of methods**. Where a method's training collapses, the collapse is shown."
    )


@dataclass(frozen=True)
class TableText:
    """What is said of a table.

    Attributes:
        title: of its page, and in the report's menu.
        lead: how to read it.
        columns: what its CSV has besides, for the report's caption.
        empty: what its page says where it has no row.
        category: of the report.
    """

    title: str
    lead: str
    columns: str = ""
    empty: str = "Nothing was run."
    category: str = "Tables"

    @property
    def caption(self) -> str:
        """What the report says of it."""
        return f"{self.lead} {self.columns}".strip()


#: Said of main.csv where the paper's values stand beside ours.
PAPER = (
    "Paper: its published value, from the latest version of its tables; ! where another run like ours on the same "
    "problems would hardly give it (by the interval for these problems, where there is one, and as much chance in the "
    "paper's run as in one of ours)."
)
#: Said where the paper's logic results are among them.
RATE = (
    "On logic the paper trained rlcsd with five times the learning rate of the other methods (5e-6): its value stands "
    "beside rlcsd, at the common rate, and beside rlcsd-lr5e6, which is trained as the paper's was."
)

TABLES = {
    "main": TableText(
        title="Main results",
        lead=f"Percent, with the {_INTERVAL}. Bold: the best of a column; {TIED_SIGN}: not told apart from it (paired "
        "on the same problems, Holm over the column, 5 %).",
        columns=f"{_FIXED}; wilson_low and wilson_high are Wilson's interval, for one draw a problem of one seed. "
        "average is the macro mean over the counted benchmarks, average_in and average_out over those inside and "
        "outside the distribution of the training problems. published is the paper's value, from the latest version of "
        "its tables; its logic results of rlcsd were made with five times the learning rate of the others. "
        "published_within: another run like ours on the same problems may give it. Runs that are missing, and why: "
        "results/tables/missing.csv.",
    ),
    "gains": TableText(
        title="Gains over base and grpo",
        lead=f"Paired differences on the same problems in percentage points, with the {_INTERVAL}; p: two-sided, after "
        f"Holm over the variants of a column. {UNEQUAL}",
        columns=f"p_value is before Holm; p_mcnemar is McNemar's exact test, for one draw a problem of one seed each. "
        f"n_seeds is the fewer of the two sides'; {_FIXED}.",
        empty=f"{_NOT_COMPARED} nothing to compare.",
    ),
    "plugin": TableText(
        title="Contrast as a plug-in",
        lead="What contrast adds to the average of a method, in percentage points, over the better of its one-sided "
        "settings (chosen by the same draws, so the gain is rather too small than too large); paired, "
        f"{_OVER}; p after Holm over the methods of a task and model. {UNEQUAL}",
        empty="No method was run both with contrast and without.",
    ),
    "hints": TableText(
        title="Hint settings",
        lead=f"Average in percent by hint setting, with the {_OVER}; below it, the difference to the method's first "
        f"setting in points, p after Holm over all differences of a task and model. {UNEQUAL}",
        empty="None of the variants that differ in their hints was run.",
    ),
    "ablations": TableText(
        title="Variants against their methods",
        lead=f"Each variant minus its method as it is, in percentage points; paired, {_OVER}; p after Holm over the "
        f"variants of a column. {UNEQUAL}",
        empty="No variant was run beside the method that it changes.",
    ),
    "beside": TableText(
        title="Length, truncation and entropy beside accuracy",
        lead="Average accuracy in percent with its 95 % interval; mean response length in tokens and share of "
        "truncated responses in the evaluation; the actor's entropy in nats a token, mean over the first and the last "
        "tenth of the training steps; optimizer steps that were skipped, over all seeds (no token carried a loss, or "
        "the gradient was not finite), and those of them that were not finite. An accuracy whose entropy or length "
        "runs away or collapses is one that further training may lose.",
    ),
    "power": TableText(
        title="What these seeds and draws can see",
        lead="Differences in percentage points that the 95 % interval would see in four of five studies with as many "
        "problems, draws and seeds as here; below, the same for just these problems. Then the seeds, or else the draws "
        f"a problem, that differences of averages would need; {DASH}: no number of them is enough, or there is no "
        "interval.",
        columns="seed_sd is the spread between training runs of all trained variants of a task and model together; 1 "
        "point is assumed where their seeds are too few to tell or to be believed of less.",
        empty=f"{_NOT_COMPARED} no difference to see.",
    ),
    "audit": TableText(
        title="Audit of the published tables",
        lead="What does not fit together in all versions of the paper's tables, by their numbers alone.",
        empty="Nothing is odd in the paper's tables.",
    ),
    "costs": TableText(
        title="What it cost",
        lead=f"As measured by the jobs themselves; {DASH}: a run's files do not say.",
        columns="Tokens are over all steps of the metrics; tokens_per_second is drawn, over wall time; peak_host_gib "
        "is of the largest process, peak_device_gib of one GPU.",
        empty="Nothing was measured.",
        category="Costs",
    ),
    "claims": TableText(
        title="Verdicts on the paper's claims",
        lead="The paper's claims C1 to C11, each part judged on what was run of every task and model by its 95 % "
        "interval. Reproduced: the whole interval lies in the part's range; not reproduced: all of it lies outside, on "
        "one side; inconclusive: neither, or there is no interval; not run: what it needs was not run. Accuracies are "
        "paired on the same problems; curves are judged by their last tenth of steps against their first (reward and "
        "validation accuracy: against their best before), over seeds, so that neither one seed nor seeds that are all "
        "alike are ever enough. Ranges and their reasons: docs/claims.md.",
        category="Claims",
    ),
    "tokens": TableText(
        title="Signal by class of token",
        lead="How much hinted teachers say about which tokens, from the rollouts that each run recorded, in nats. "
        "One-sided: size of the correct hint's log-probability of a token minus the student's. Contrast: size of the "
        "correct hint's minus the log of the mean probability under the wrong hints; blank where a method has none. "
        "Task tokens are digits, operators, mathematical symbols and LaTeX commands; style tokens are discourse words "
        "(wait, therefore, so, ...) and line breaks; marks of markdown are neither; the lists are ours: "
        "reporting/tokens/classes.py.",
        columns="tokens.csv: means are over the rollouts' own means, shares are of the signal's whole size. "
        "top_tokens.csv: means over all occurrences, for tokens that occur five times or more, and at least once in "
        "2,000. Which rollouts are recorded: records in config/README.md.",
    ),
}
