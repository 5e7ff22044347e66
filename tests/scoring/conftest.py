from plain_scores import model, plain_distributions, plain_scores  # noqa: F401  (fixtures)
