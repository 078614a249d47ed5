"""Bad input: one clear line, exit status 2."""


class BadInputError(Exception):
    """The user's input cannot be used. The message names the value and what would be right, in one line."""
