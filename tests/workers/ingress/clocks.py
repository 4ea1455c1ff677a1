"""A clock that stands still until a test moves it on: no pause of the machine ends a lifetime."""


class ManualClock:
    """Returns `now_s` when it is called."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
