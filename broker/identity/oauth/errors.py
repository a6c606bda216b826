"""What OAuth answers when it refuses: its own words, not ours (RFC 6749 §§ 4.1.2.1, 5.2; RFC 7591 § 3.2.2)."""

from typing import Final

STATUS: Final = {"invalid_client": 401, "slow_down": 429, "temporarily_unavailable": 503}


class OAuthRefusal(Exception):
    """`error` is one of OAuth's codes, `description` a sentence for the client's developer, without any secret.

    `retry_after` is in whole seconds.
    """

    def __init__(self, error: str, description: str, *, retry_after: int | None = None) -> None:
        self.error = error
        self.description = description
        self.status = STATUS.get(error, 400)
        self.retry_after = retry_after
        super().__init__(f"{error}: {description}")
