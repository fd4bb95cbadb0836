"""Stops asking an endpoint that fails, and tries it again after a pause. Sans I/O, real seconds."""

from __future__ import annotations


class EndpointBreaker:
    """Opens after `failures` in a row; after `pause_s` one request may try, and its outcome decides."""

    def __init__(self, failures: int, pause_s: float) -> None:
        self._failures = failures
        self._pause_s = pause_s
        self._in_a_row = 0
        self._retry_at_s: float | None = None

    @property
    def open(self) -> bool:
        return self._retry_at_s is not None

    def allows(self, now_s: float) -> bool:
        """Whether a request may go now. When the pause is over, one may, and the next pause begins."""
        if self._retry_at_s is None:
            return True
        if now_s < self._retry_at_s:
            return False
        self._retry_at_s = now_s + self._pause_s
        return True

    def on_success(self) -> bool:
        """The endpoint answered; True when it had been given up."""
        was_open = self.open
        self._in_a_row, self._retry_at_s = 0, None
        return was_open

    def on_failure(self, now_s: float) -> bool:
        """The endpoint failed; True when it is given up from now on."""
        self._in_a_row += 1
        if self._in_a_row < self._failures:
            return False
        was_open = self.open
        self._retry_at_s = now_s + self._pause_s
        return not was_open
