"""The only door out of a `Secret`. Who may import this module is a contract checked with the imports."""

from vault.secret import Secret


def reveal(secret: Secret) -> bytes:
    """The plaintext. Use it in the expression that sends it; bind it to no name that outlives the request.

    Raises:
        TypeError: `secret` is not a `Secret`.
    """
    if type(secret) is not Secret:
        raise TypeError("only a Secret can be revealed")
    return secret._open()
