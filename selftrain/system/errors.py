"""The one exception a person is meant to read."""


class UserError(ValueError):
    """A mistake in the input; the message names the file or option and says the cure.  Programs print it without a traceback."""
