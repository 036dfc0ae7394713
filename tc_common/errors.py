"""The one exception that a command line turns into one line instead of a traceback."""


class UserError(ValueError):
    """A mistake of the user's that the program can name: what, where, how to mend.

    `tc_common.cli.run` prints it as `error: …` and exits with status 2. Everything else is a defect of ours and
    keeps its traceback.
    """


# What torch, Python, the system and oneDNN say.
SIGNS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "memoryerror", "bad_alloc",
    "could not create a primitive",
)  # fmt: skip


def speaks_of_exhaustion(text: str) -> bool:
    """Whether a message says so."""
    return any(sign in text.lower() for sign in SIGNS)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means so (torch on a CPU has no type of its own for that)."""
    return isinstance(error, MemoryError) or speaks_of_exhaustion(str(error))
