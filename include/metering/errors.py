"""The one exception that is meant for people."""


class BillingError(Exception):
    """Something a person can mend.

    The message is one sentence that says what went wrong; `remedy` is one that says what to do about it. The
    command line prints both and exits with a non-zero status; services put them into their replies and logs.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()
