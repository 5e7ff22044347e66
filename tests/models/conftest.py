from plain_scores import model  # noqa: F401  (fixture)
from small_run import config, make, small_run, template  # noqa: F401  (fixtures)
