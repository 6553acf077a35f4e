"""The one error that a user can mend."""


class KitError(ValueError):
    """A mistake of the user's or of a file: one line that says what is wrong, where, and what to do next.

    `cli` prints it without a traceback and exits with 2. Every other exception is a bug of ours.
    """
