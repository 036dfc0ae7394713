"""The exception that a command line prints as one line instead of a traceback, and how to say an error in one line."""


class UserError(ValueError):
    """A mistake of the user's that the program can name: what, where, how to mend.

    `tc_common.cli.run` prints it as `error: …` and exits with status 2. Everything else is a defect of ours and
    keeps its traceback.
    """


def one_line(error: BaseException, most: int = 300) -> str:
    """The error's message with all white space folded, cut to `most` characters; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


# Out-of-memory messages of torch, Python, the operating system and oneDNN.
OUT_OF_MEMORY = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "memoryerror", "bad_alloc",
    "could not create a primitive",
)  # fmt: skip


def reports_out_of_memory(text: str) -> bool:
    """Whether a message is an out-of-memory message."""
    return any(message in text.lower() for message in OUT_OF_MEMORY)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is an out-of-memory error (torch has no type of its own for that on a CPU)."""
    return isinstance(error, MemoryError) or reports_out_of_memory(str(error))
