"""The settings of pacing: how fast a number may write, and to how many new people a day."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PerMinute = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
Burst = Annotated[int, Field(ge=1, le=100)]
Jitter = Annotated[float, Field(ge=0, le=0.9, allow_inf_nan=False)]
Ramp = Annotated[
    tuple[Annotated[int, Field(ge=1, le=100_000)], ...],
    Field(max_length=60),
]
"""New people a day: of the first day on which the number is connected, the second, and so on."""


PER_MINUTE = (
    "Messages a minute of a number, on average. 0: no limit. A reply counts as a quarter of a "
    "message, the first message to a new person as two, a file as half as much again."
)
BURST = "Messages that a number may send at once after a pause."
RECIPIENT_PER_MINUTE = "Messages a minute to one person, on average. 0: no limit."
RECIPIENT_BURST = "Messages that one person may get at once after a pause."
JITTER = "How much the intervals vary: 0.5 is from half to one and a half of their average."
WARM_UP = (
    "To how many new people a number may write on the first day on which it is connected, on the "
    "second, and so on; unlimited afterwards. Empty: no warm-up."
)


class Pacing(BaseModel):
    """How a number is paced. A rate of 0 and a warm-up without days mean: not at all."""

    model_config = ConfigDict(frozen=True)

    per_minute: PerMinute = Field(default=0, description=PER_MINUTE, examples=[20])
    burst: Burst = Field(default=5, description=BURST, examples=[5])
    recipient_per_minute: PerMinute = Field(
        default=0, description=RECIPIENT_PER_MINUTE, examples=[6]
    )
    recipient_burst: Burst = Field(default=5, description=RECIPIENT_BURST, examples=[5])
    jitter: Jitter = Field(default=0.5, description=JITTER, examples=[0.5])
    warm_up: Ramp = Field(default=(), description=WARM_UP, examples=[[20, 40, 80, 160, 320, 640]])

    @property
    def is_off(self) -> bool:
        return not (self.per_minute or self.recipient_per_minute or self.warm_up)

    def with_change(self, change: "PacingChange") -> Self:
        """Return these settings with those that `change` names in their place."""
        return self.model_copy(update=change.model_dump(exclude_none=True))


class PacingChange(BaseModel):
    """Settings of pacing that differ from the default; null: the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: PerMinute | None = Field(default=None, description=PER_MINUTE, examples=[20])
    burst: Burst | None = Field(default=None, description=BURST, examples=[5])
    recipient_per_minute: PerMinute | None = Field(
        default=None, description=RECIPIENT_PER_MINUTE, examples=[6]
    )
    recipient_burst: Burst | None = Field(default=None, description=RECIPIENT_BURST, examples=[5])
    jitter: Jitter | None = Field(default=None, description=JITTER, examples=[0.5])
    warm_up: Ramp | None = Field(
        default=None, description=WARM_UP, examples=[[20, 40, 80, 160, 320, 640]]
    )

    @classmethod
    def read(cls, stored: Any) -> Self:
        """Return stored settings without those that are invalid, or of a newer version."""
        if not isinstance(stored, dict):
            return cls()
        known = {name: value for name, value in stored.items() if name in cls.model_fields}
        try:
            return cls.model_validate(known)
        except ValidationError as error:
            invalid = {fault["loc"][0] for fault in error.errors()}
            return cls.model_validate(
                {name: value for name, value in known.items() if name not in invalid}
            )
