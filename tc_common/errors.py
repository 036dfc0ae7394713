"""The one exception that a command line turns into one line instead of a traceback."""


class UserError(ValueError):
    """A mistake of the user's that the program can name: what, where, how to mend.

    `tc_common.cli.run` prints it as `error: …` and exits with status 2. Everything else is a defect of ours and
    keeps its traceback.
    """
