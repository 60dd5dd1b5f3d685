"""The one exception whose message a person is meant to read."""


class UserError(ValueError):
    """A mistake in the input, for a person to read.

    The message names the file or the option and says the cure.  Programs print it without a traceback.
    """
