"""Section `discovery`: what a configuration asks for, and what is refused while planning."""

import pytest
from configurations import shipped, study_of

from selfdistill.errors import UserError
from selfdistill.planning.requests import discovery_request, training_request
from selfdistill.study.discovery import SEARCHES, DiscoverySettings
from selfdistill.study.matrix import BASE

DEMO = shipped("discover_demo")
PAPER = shipped("discover")


def told(*texts):
    with pytest.raises(UserError) as error:
        study_of(*texts, files=DEMO)
    return str(error.value)


def test_without_the_section_no_search_is_made():
    study = study_of()
    assert study.discoveries.models() == []
    assert study.discoveries.cells() == []


def test_the_demo_makes_all_searches_with_three_seeds():
    found = study_of(files=DEMO).discoveries
    assert {(each.search, each.seed) for each in found.cells()} == {
        (search, seed) for search in ("self_distillation", "best_of", "multi_turn") for seed in (0, 1, 2)
    }
    assert len({found.state(found.of("programs", "tiny_qwen3", e.search, e.seed), 0) for e in found.cells()}) == 9


def test_the_papers_matrix_is_planned_with_its_values():
    study = study_of(files=PAPER)
    found = study.discoveries
    asked = found.settings
    assert len(asked.sets["hard"].questions) == 19
    assert (asked.sets["very_hard"].below, asked.sets["very_hard"].of) == (0.03, "hard")
    assert (asked.budget, asked.seeds, asked.parts) == (2750, [0, 1, 2, 3, 4], 19)
    assert asked.listed == asked.sets["hard"].questions
    assert len(found.cells()) == 3 * 5 * 19
    run = found.of("livecodebench", "qwen3_8b", "self_distillation", 0)["run"]
    assert run["optimizer"]["learning_rate"] == 1e-6
    assert run["objective"]["alpha"] == 1.0
    assert run["objective"]["top_k"] == 20
    assert run["objective"]["advantage_bound"] == 5.0
    assert run["teacher"]["ema_decay"] == 0.99
    assert (run["rollout"]["prompts_per_step"], run["rollout"]["group_size"]) == (1, 16)
    assert run["hints"]["feedback"] == "only_without_solution"
    assert run["chat"]["thinking"] is False
    copies = study.resolve("livecodebench", "qwen3_8b", "sdpo_official-test_time-four_copies", 0)
    assert (copies["rollout"]["prompts_per_step"], copies["rollout"]["group_size"]) == (4, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "discovery: {sets: {hard: {below: 0.5, questions: [1]}}}",
            "sets.hard: expected either `below` or `questions`",
        ),
        ("discovery: {sets: {more: {questions: [20]}}}", "sets.more.questions: no question 20; task programs has 20"),
        ("discovery: {sets: {a/b: {questions: [1]}}}", "discovery.sets: expected a name"),
        ("discovery: {sets: {a: {below: 2}}}", "config: discovery.sets.a.below: expected at most 1, found 2"),
        ("discovery: {sets: {more: {questions: [1, 1]}}}", "sets.more.questions: expected indices from 0, each once"),
        ("discovery: {sets: {more: {below: 0.5, of: hard}}}", "sets.more.of: 'hard' is no set that is a list"),
        ("discovery: {budget: 15}", "budget is 15, but one update of variant test_time takes 16 attempts"),
        ("discovery: {selection_draws: 63}", "selection_draws is 63, but pass@64 needs as many draws or more"),
        ("discovery: {variant: tset_time}", "unknown variant 'tset_time'; the nearest known one is 'test_time'"),
        ("discovery: {variant: base}", "unknown variant 'base'"),
        ("discovery: {searches: [best_off]}", "discovery.searches.0: expected a search, found 'best_off'"),
        ("discovery: {seeds: [0, 0]}", "discovery.seeds: expected one or more, each once"),
        ("discovery: {seeds: 3}", "discovery.seeds: expected a value of type list, found 3"),
        (
            "discovery: {sets: {more: {questions: 3}}}",
            "questions: expected a value of type list, null, found 3",
        ),
        ("discovery: {seeds: [-1]}", "discovery.seeds: expected whole numbers from 0, found -1"),
        ("discovery: {budgte: 3}", "unknown key 'budgte'; the nearest valid key is 'budget'"),
        ("discovery: {multi_turn: {shape: all}}", "expected one of feedback_only, attempt_and_feedback"),
        ("matrix: {tasks: [wrong_facts]}", "task wrong_facts has no held-back tests (its grader is chain)"),
        (
            "variants: {test_time: {set: {hints: {source: self_rollout, feedback: never}}}}",
            "hints.feedback is 'never', so nothing is learned as long as nothing passes",
        ),
        (
            "variants: {test_time: {set: {hints: {source: gt_cot}}}}",
            "hints.source is 'gt_cot', a solution that a search is to find; set it to self_rollout",
        ),
        (
            "tasks: {programs: {grading: {feedback: none}}}",
            "grader programs of task programs says nothing of failures, and self_distillation and multi_turn have",
        ),
        (
            "variants: {test_time: {set: {objective: {alpha: 0.5}}}}",
            "objective.advantage_bound needs objective.alpha 1, found 0.5",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_while_planning(text, said):
    assert said in told(text)


def test_draws_alone_need_no_feedback():
    quiet = "tasks: {programs: {grading: {feedback: none}}}"
    assert study_of(quiet, "discovery: {searches: [best_of]}", files=DEMO).discoveries.cells()
    assert "says nothing of failures" in told(quiet, "discovery: {searches: [best_of, multi_turn]}")


VERL = "overrides: {all: {trainer: verl, rollout: {engine: vllm, old_logprobs: recompute}, verl: {gpus_per_node: 2}}}"


def test_self_distillation_may_go_through_verl_on_one_node_and_has_its_machine_then():
    study = study_of(VERL, files=PAPER)
    found, cell = study.discoveries, ("livecodebench", "qwen3_8b")
    assert [search for search in SEARCHES if found.through_verl(*cell, search)] == ["self_distillation"]
    run = training_request(study, *cell, found.settings.variant)
    search, others = (discovery_request(study, *cell, search=name) for name in ("self_distillation", "best_of"))
    assert (search.gpus, search.mem_mb, search.cpus) == (2, run.mem_mb, run.cpus)
    assert others.gpus == 1
    assert search.runtime_minutes == others.runtime_minutes
    local = study_of(files=PAPER)
    assert not local.discoveries.through_verl(*cell, "self_distillation")
    assert discovery_request(local, *cell, search="self_distillation") == others
    with pytest.raises(UserError, match=r"verl.nodes is 2, but a question has one node; set verl.nodes: 1"):
        study_of(VERL, "overrides: {all: {verl: {nodes: 2}}}", files=PAPER)


def test_settings_of_a_search_hold_what_decides_it_and_nothing_else():
    plain = study_of(files=DEMO).discoveries
    more = study_of("discovery: {batch: 32, seeds: [0, 1, 2, 3]}", files=DEMO).discoveries
    for search in ("self_distillation", "multi_turn"):
        assert plain.of("programs", "tiny_qwen3", search, 0) == more.of("programs", "tiny_qwen3", search, 0)
    assert plain.of("programs", "tiny_qwen3", "best_of", 0) != more.of("programs", "tiny_qwen3", "best_of", 0)
    assert DiscoverySettings().variant != BASE
