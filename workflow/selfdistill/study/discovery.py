"""Resolves a configuration's searches at test time: questions, searches, budgets.

Section `discovery` of a configuration (docs/discovery.md). Like a diagnosis it stands beside the runs of the matrix,
and is made for each of its tasks and models.
"""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from selfdistill.errors import UserError
from selfdistill.files import sha256_json
from selfdistill.methods.setting import Settings, from_mapping, setting
from selfdistill.schemas import nearest
from selfdistill.study.data import GENERATED
from selfdistill.study.feedback_levels import NONE, level_of
from selfdistill.study.matrix import BASE

if TYPE_CHECKING:
    from selfdistill.study.study import Study

SELF_DISTILLATION, BEST_OF, MULTI_TURN = "self_distillation", "best_of", "multi_turn"
SEARCHES = (SELF_DISTILLATION, BEST_OF, MULTI_TURN)
#: Graders of answers that tests decide, of which a search sees a part.
TESTED = ("code", "code_as_published", "programs")
SHAPES = ("feedback_only", "attempt_and_feedback")

_FOLDER = "results/discovery/{task}/{model}"
#: Draws of the untrained model, the questions that they choose, and the attempts of a search.
BASE_DRAWS_FILE = f"{_FOLDER}/base/part{{part}}.parquet"
QUESTIONS_FILE = f"{_FOLDER}/questions.csv"
ATTEMPTS_FILE = f"{_FOLDER}/{{search}}/seed{{seed}}/part{{part}}.parquet"


@dataclass(frozen=True)
class MultiTurnSettings(Settings):
    """The dialogue with the environment: one chain of attempts a question."""

    at: ClassVar[tuple[str, ...]] = ("discovery", "multi_turn")

    shape: str = setting(
        "feedback_only",
        "What a later turn shows of earlier ones: all feedback in one message, or the whole dialogue.",
        choices=SHAPES,
    )
    window_tokens: int = setting(
        32_000,
        "Of a prompt: the oldest feedback, and its attempt, is left out until it fits; where none does, the question "
        "stands alone.",
        unit="tokens",
        minimum=1,
    )


@dataclass(frozen=True)
class QuestionSet(Settings):
    """Says which questions a set has: by the untrained model's pass@k, or by a list."""

    at: ClassVar[tuple[str, ...]] = ("discovery", "sets")

    below: float | None = setting(None, "Questions whose pass@k is below.", unit="share", above=0, maximum=1)
    of: str | None = setting(None, "With `below`: among the questions of another set, one that is a list.")
    questions: list | None = setting(None, "Indices of questions (`extra_info.index`).")


@dataclass(frozen=True)
class DiscoverySettings(Settings):
    """Section `discovery` of a configuration: searches at test time."""

    at: ClassVar[tuple[str, ...]] = ("discovery",)

    variant: str = setting(
        "sdpo_official-test_time",
        "Whose settings self-distillation trains with, a question at a time; all searches draw as its `rollout` says. "
        "There `prompts_per_step` is the number of copies of the question, `group_size` the attempts at each.",
    )
    sets: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "meaning": "Name -> `below`, a bound of the untrained model's pass@k, or `questions`, a list of indices."
        },
    )
    searches: list[str] = setting(list(SEARCHES), "Which are made.", pattern=("a search", f"^({'|'.join(SEARCHES)})$"))
    seeds: list = setting([0, 1, 2, 3, 4], "Of each search.")
    budget: int = setting(2750, "Of each question and seed.", unit="attempts", minimum=1)
    pass_at: int = setting(64, "The k of the pass@k that chooses questions.", unit="attempts", minimum=1)
    selection_draws: int = setting(
        1472, "Of the untrained model, to each question: they choose questions.", unit="draws", minimum=0
    )
    pool_draws: int = setting(
        1472,
        "More of them, from which best-of-k has its closed form: apart from those that choose, which would make chosen "
        "questions look harder than they are.",
        unit="draws",
        minimum=0,
    )
    engine: str = setting(
        "own",
        "What draws where no weights move. Self-distillation draws with `rollout.engine`.",
        choices=("own", "transformers", "vllm"),
    )
    batch: int = setting(
        16, "Attempts of best-of-k that are drawn together before it looks for a pass.", unit="attempts", minimum=1
    )
    parts: int = setting(
        1, "Jobs that share the questions of a search; as many as questions gives each a job of its own.", minimum=1
    )
    checkpoint_every: int = setting(
        10, "A search that is killed loses at most this of a question's training.", unit="updates", minimum=1
    )
    multi_turn: MultiTurnSettings = field(default_factory=MultiTurnSettings)

    def __post_init__(self) -> None:
        """Raise UserError for values out of range, sets of no shape, and seeds or searches that are none."""
        super().__post_init__()
        for name, values in (("seeds", self.seeds), ("searches", self.searches)):
            if not values or len(set(map(str, values))) < len(values):
                raise UserError(
                    f"discovery.{name}: expected one or more, each once, found {values}; change the list",
                    keys=[("discovery", name)],
                )
        if wrong := [seed for seed in self.seeds if type(seed) is not int or seed < 0]:
            raise UserError(
                f"discovery.seeds: expected whole numbers from 0, found {wrong[0]!r}; change it",
                keys=["discovery.seeds"],
            )
        object.__setattr__(self, "sets", {name: _question_set(name, about) for name, about in self.sets.items()})
        for name, each in self.sets.items():
            if each.of is not None and (each.of not in self.sets or self.sets[each.of].questions is None):
                raise UserError(
                    f"discovery.sets.{name}.of: {each.of!r} is no set that is a list; name one, or drop it",
                    keys=[("discovery", "sets", name, "of")],
                )

    @property
    def by_pass(self) -> bool:
        """Returns whether any set is chosen by the untrained model's draws."""
        return any(each.below is not None for each in self.sets.values())

    @property
    def listed(self) -> list[int] | None:
        """Return the indices that are asked at all; None for every question, where draws have to choose."""
        if any(each.below is not None and each.of is None for each in self.sets.values()):
            return None
        return sorted({index for each in self.sets.values() for index in each.questions or ()})


@dataclass(frozen=True)
class Searched:
    """A search for answers to the questions of a task, with a model, a seed, and a share of the questions."""

    task: str
    model: str
    search: str
    seed: int
    part: int

    @property
    def file(self) -> str:
        """Returns where its attempts lie."""
        return ATTEMPTS_FILE.format(**vars(self))


class Discoveries:
    """The searches that a configuration asks for. Raises UserError where its section `discovery` is wrong."""

    def __init__(self, study: "Study"):
        """study: a checked configuration."""
        self._study, self.asked = study, "discovery" in study.config
        given = study.config.get("discovery", {})
        self._origin = study.origin(("discovery",), given)
        self.settings = from_mapping(DiscoverySettings, given, self._origin)
        if self.asked:
            self._check()

    def models(self) -> list[tuple[str, str]]:
        """Return task and model of every search, in the order of the matrix, each once."""
        return list(dict.fromkeys((run.task, run.model) for run in self._study.runs())) if self.asked else []

    def cells(self, task: str | None = None, model: str | None = None) -> list[Searched]:
        """Return every search, of one task and model where these are named."""
        wanted = [each for each in self.models() if task in (None, each[0]) and model in (None, each[1])]
        asked = self.settings
        shares = itertools.product(wanted, asked.searches, asked.seeds, range(asked.parts))
        return [Searched(*cell, search, seed, part) for cell, search, seed, part in shares]

    def base_draws(self, task: str, model: str) -> list[str]:
        """Return the files of the untrained model's draws; none where nobody reads any."""
        if not self._draws():
            return []
        return [BASE_DRAWS_FILE.format(task=task, model=model, part=part) for part in range(self.settings.parts)]

    @property
    def selection(self) -> int:
        """Return how many of the untrained model's draws chose the questions."""
        return self.settings.selection_draws if self.settings.by_pass else 0

    def of_base(self, task: str, model: str) -> dict[str, Any]:
        """Return all that decides the untrained model's draws."""
        return {**self._common(task, model, 0), "draws": self._draws(), "listed": self.settings.listed}

    def of_questions(self) -> dict[str, Any]:
        """Return all that decides which questions there are, beside those draws."""
        asked = self.settings
        sets = {name: vars(each) for name, each in asked.sets.items()}
        return {"sets": sets, "pass_at": asked.pass_at, "selection_draws": self.selection}

    def of(self, task: str, model: str, search: str, seed: int) -> dict[str, Any]:
        """Return all that decides the attempts of a search."""
        asked, settings = self.settings, {**self._common(task, model, seed), "search": search}
        settings |= {"budget": asked.budget, "questions": self.of_questions()}
        if search == SELF_DISTILLATION:
            settings["checkpoint_every"] = asked.checkpoint_every
        if search == BEST_OF:
            settings["batch"] = asked.batch
        if search == MULTI_TURN:
            settings |= {"multi_turn": {"shape": asked.multi_turn.shape, "window": asked.multi_turn.window_tokens}}
        return settings

    def through_verl(self, task: str, model: str, search: str) -> bool:
        """Returns whether a search is verl's to make."""
        if search != SELF_DISTILLATION:
            return False
        return self._study.resolve(task, model, self.settings.variant, 0)["trainer"] == "verl"

    def state(self, settings: Mapping[str, Any], part: int) -> str:
        """Return the name of a search's state: a hash of its settings and of its share."""
        return sha256_json([dict(settings), int(part)])

    def _draws(self) -> int:
        asked = self.settings
        pool = asked.pool_draws if BEST_OF in asked.searches else 0
        return pool + self.selection

    def _common(self, task: str, model: str, seed: int) -> dict[str, Any]:
        return {
            "run": self._study.resolve(task, model, self.settings.variant, seed),
            "engine": self.settings.engine,
            "parts": self.settings.parts,
        }

    def _check(self) -> None:
        study, asked, origin = self._study, self.settings, self._origin
        if not asked.sets:
            raise UserError(f"{origin}: discovery.sets: expected one or more sets of questions, found none; name one")
        if asked.variant == BASE or asked.variant not in study.variants:
            known = [name for name in study.variants if name != BASE]
            raise UserError(
                f"{origin}: discovery.variant: unknown variant {asked.variant!r}; the nearest known one is "
                f"{nearest(asked.variant, known)!r} (known: {', '.join(known)})"
            )
        if asked.by_pass and asked.selection_draws < asked.pass_at:
            raise UserError(
                f"{origin}: discovery.selection_draws is {asked.selection_draws}, but pass@{asked.pass_at} needs as "
                "many draws or more; raise it"
            )
        for task, model in self.models():
            self._check_task(task)
            if SELF_DISTILLATION in asked.searches:
                self._check_training(task, model)
            if not {SELF_DISTILLATION, MULTI_TURN}.isdisjoint(asked.searches):
                self._check_feedback(task, model)

    def _check_task(self, task: str) -> None:
        entry, origin = self._study.config["tasks"][task], self._origin
        if entry["grader"] not in TESTED:
            raise UserError(
                f"{origin}: discovery: task {task} has no held-back tests (its grader is {entry['grader']}): a search "
                f"needs a grader of {', '.join(TESTED)}; leave the task out of the matrix, or `discovery` out"
            )
        if entry["data"]["source"] != GENERATED:
            return
        there = entry["data"]["generator"]["train"]["problems"]
        for name, each in self.settings.sets.items():
            if unknown := [index for index in each.questions or () if index >= there]:
                raise UserError(
                    f"{origin}: discovery.sets.{name}.questions: no question {unknown[0]}; task {task} has {there} of "
                    f"them, from 0 to {there - 1}: change the list, or the generator's number of problems"
                )

    def _check_training(self, task: str, model: str) -> None:
        asked, origin = self.settings, self._origin
        run = self._study.resolve(task, model, asked.variant, 0)
        nodes = self._study.machine(task, model, asked.variant)["nodes"]
        if run["trainer"] == "verl" and nodes > 1:
            raise UserError(
                f"{origin}: discovery.variant {asked.variant}: verl.nodes is {nodes}, but a question has one node; set "
                "verl.nodes: 1, and discovery.parts for questions beside one another"
            )
        if "external_models" in run:
            raise UserError(
                f"{origin}: discovery.variant {asked.variant}: its teacher is another model, but a question is "
                "searched by one model alone; take another variant"
            )
        group = run["rollout"]["prompts_per_step"] * run["rollout"]["group_size"]
        if asked.budget < group:
            raise UserError(
                f"{origin}: discovery.budget is {asked.budget}, but one update of variant {asked.variant} takes "
                f"{group} attempts (rollout.prompts_per_step x rollout.group_size); raise the budget or lower these"
            )
        if (source := run["hints"]["source"]) == "gt_cot":
            raise UserError(
                f"{origin}: discovery.variant {asked.variant}: hints.source is {source!r}, a solution that a search is "
                "to find; set it to self_rollout, or to none for feedback alone"
            )
        if run["hints"].get("feedback", "never") == "never":
            raise UserError(
                f"{origin}: discovery.variant {asked.variant}: hints.feedback is 'never', so nothing is learned as "
                "long as nothing passes; set it to only_without_solution or always"
            )

    def _check_feedback(self, task: str, model: str) -> None:
        run = self._study.resolve(task, model, self.settings.variant, 0)
        if level_of(run) == NONE:
            raise UserError(
                f"{self._origin}: discovery: the grader {run['grader']} of task {task} says nothing of failures, and "
                f"{SELF_DISTILLATION} and {MULTI_TURN} have nothing else; ask for more in "
                f"tasks.{task}.grading.feedback, or make {BEST_OF} alone"
            )


def _question_set(name: str, about: Any) -> QuestionSet:
    if not isinstance(about, Mapping):
        raise UserError(
            f"discovery.sets.{name}: expected `below` or `questions`, found {about!r}; give one of them",
            keys=[("discovery", "sets", name)],
        )
    try:
        found = from_mapping(QuestionSet, about, "configuration", at=("discovery", "sets", name))
    except UserError as error:  # whoever knows the file says so
        raise UserError(str(error).removeprefix("configuration: "), keys=error.keys) from None
    if (found.below is None) == (found.questions is None):
        raise UserError(
            f"discovery.sets.{name}: expected either `below` or `questions`; give one of them",
            keys=[("discovery", "sets", name)],
        )
    if found.of is not None and found.below is None:
        raise UserError(
            f"discovery.sets.{name}.of: goes with `below`; give that, or drop it",
            keys=[("discovery", "sets", name, "of")],
        )
    if found.questions is not None:
        wrong = [index for index in found.questions if type(index) is not int or index < 0]
        if wrong or not found.questions or len(set(found.questions)) < len(found.questions):
            raise UserError(
                f"discovery.sets.{name}.questions: expected indices from 0, each once, found {found.questions}; change "
                "the list",
                keys=[("discovery", "sets", name, "questions")],
            )
    return found


@functools.cache
def parts_of(count: int, part: int, parts: int) -> range:
    """Return the places of a list of so many that are a job's share."""
    return range(part, count, parts)
