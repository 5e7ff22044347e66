"""The loop around all searches: budgets, the stop at a first pass, and what a killed process leaves."""

from dataclasses import replace

import pytest

from selfdistill.evaluation.attempts import Attempt
from selfdistill.training.discovery.journal import Journal
from selfdistill.training.discovery.search import search_all

ONE = Attempt("", 1, 1, "r", "stop", "f", False, None, 10, 5)


class Scripted:
    """A search of rounds of three attempts; question i passes at attempt `first[i]`."""

    least = 1

    def __init__(self, first, one_by_one=False, dies_in=None):
        self.first, self.one_by_one, self.dies_in, self.rounds = first, one_by_one, dies_in, []

    def begin(self, question, before):
        return before

    def round(self, quests):
        if len(self.rounds) == self.dies_in:
            raise KeyboardInterrupt
        self.rounds.append([quest.question.asked.index for quest in quests])
        made = []
        for quest in quests:
            numbers = range(len(quest.attempts) + 1, len(quest.attempts) + 1 + min(3, quest.left))
            turn = quest.attempts[-1].turn + 1 if quest.attempts else 1
            passes = self.first.get(quest.question.asked.index)
            made.append(
                [
                    replace(
                        ONE,
                        question=quest.question.id,
                        attempt=n,
                        turn=turn,
                        correct=n == passes,
                        held_back=None if n != passes else n % 2 == 0,
                    )
                    for n in numbers
                ]
            )
        return made

    def written(self, quests):
        pass


def searched(search, questions, folder, **how):
    folder.mkdir(exist_ok=True)
    lines = []
    journal = Journal(folder, lines.append)
    how = {"budget": 8, "stops": True, "report": lines.append, **how}
    return search_all(search, questions, journal, **how), lines


def counts(attempts):
    found = {}
    for attempt in attempts:
        found[attempt.question[-1]] = found.get(attempt.question[-1], 0) + 1
    return found


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_question_ends_with_the_round_of_its_first_pass_or_with_its_budget(questions, tmp_path, one_by_one):
    search = Scripted({0: 2, 1: 4}, one_by_one)
    attempts, lines = searched(search, questions[:3], tmp_path)
    assert counts(attempts) == {"0": 3, "1": 6, "2": 8}
    alone = [[0], [1], [1], [2], [2], [2]]
    assert search.rounds == (alone if one_by_one else [[0, 1, 2], [1, 2], [2]])
    assert any("attempt 4 passes, and holds" in line for line in lines)
    assert any("nothing passes in 8 attempts" in line for line in lines)


def test_draws_that_do_not_stop_fill_the_budget(questions, tmp_path):
    attempts, _ = searched(Scripted({0: 1}), questions[:2], tmp_path, stops=False)
    assert counts(attempts) == {"0": 8, "1": 8}


def test_a_killed_search_goes_on_where_it_was(questions, tmp_path):
    whole, _ = searched(Scripted({1: 5}), questions[:3], tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        searched(Scripted({1: 5}, dies_in=1), questions[:3], tmp_path / "killed")
    file = tmp_path / "killed" / "attempts.jsonl"
    file.write_text(file.read_text() + '[{"question": "half a li')
    search = Scripted({1: 5})
    again, lines = searched(search, questions[:3], tmp_path / "killed")
    assert again == whole
    assert len(search.rounds) == 2
    assert "not whole" in lines[0]
    finished = Scripted({1: 5})
    assert searched(finished, questions[:3], tmp_path / "killed")[0] == whole
    assert finished.rounds == []


def test_a_question_is_done_where_the_budget_has_no_room_for_another_round(questions, tmp_path):
    """Whatever is left of it: taken up once more by a later process, it would be searched all over again."""
    search = Scripted({}, one_by_one=True)
    search.least = 3
    assert counts(searched(search, questions[:2], tmp_path)[0]) == {"0": 6, "1": 6}
    search.begin = None  # nothing is taken up
    assert counts(searched(search, questions[:2], tmp_path)[0]) == {"0": 6, "1": 6}
    assert searched(search, questions[:2], tmp_path / "other", budget=2)[0] == []


def test_what_is_noted_counts_the_attempts_of_an_earlier_process_too(questions, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        searched(Scripted({0: 2, 1: 5}, dies_in=1), questions[:3], tmp_path)
    notes = []
    attempts, _ = searched(Scripted({0: 2, 1: 5}), questions[:3], tmp_path, note=notes.append)
    first, last = notes[0], notes[-1]
    assert (first["attempts"], first["questions"], first["passed"], first["hold"], first["made"]) == (9, 1, 1, 1, 0)
    assert (last["attempts"], last["questions"], last["passed"], last["hold"]) == (len(attempts), 3, 2, 1)
    assert last["made"] == len(attempts) - 9
    assert last["seconds"] >= 0
