"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad config, data, model or machine: names the file, key or row, what was expected, and what to do.

    Scripts print its message without a traceback; everything else that is raised is a bug of ours.
    """
