"""The one exception that a user is meant to read."""

from selfdistill.texts import reportable


class UserError(Exception):
    """Bad config, data, model or machine: names the file, key or row, what was expected, and what to do.

    Scripts print its message without a traceback; everything else that is raised is a bug of ours. Whatever value it
    quotes, it has no secrets, nothing unseen, and some thousand characters at most.
    """

    def __init__(self, message: object = ""):
        super().__init__(reportable(str(message)))
