"""Searches at test time as rules: what the toy's and the paper's configurations plan."""


def test_the_toy_plans_draws_questions_searches_and_what_is_made_of_them(furnished):
    jobs = furnished.planned("--configfile", "config/discover_demo.yaml")
    assert jobs["discover programs"] == 9
    assert (jobs["discovery_draws programs"], jobs["discovery_questions programs"]) == (1, 1)
    assert (jobs["discovery_tables"], jobs["discovery_figure programs"], jobs["attempts_page"]) == (1, 1, 1)
    for table in ("discovery", "discovery_needed", "discovery_claims"):
        assert jobs[f"table_formats {table}"] == 1
    assert jobs["train"] == 0


def test_the_papers_questions_have_a_job_each(furnished):
    target = "results/tables/discovery.csv"
    jobs = furnished.planned(target, "--configfile", "config/discover.yaml")
    assert jobs["discover livecodebench"] == 3 * 5 * 19
    assert jobs["discovery_draws livecodebench"] == 19
    assert jobs["discovery_questions livecodebench"] == 1
