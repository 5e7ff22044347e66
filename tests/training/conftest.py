from small_run import config, make, small_run, template  # noqa: F401  (fixtures)
