"""Response bodies of /v1/pacing; a change is shared.pacing.PacingChange."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from shared.pacing import Pacing, PacingChange


class WarmUpState(BaseModel):
    """The present day of a number's warm-up."""

    day: int = Field(description="1 is the day of its first connection.", examples=[1])
    budget: int = Field(description="To how many new people it may write today.", examples=[20])
    left: int = Field(description="To how many more it may write today.", examples=[12])
    waiting: int = Field(description="Messages to new people that wait for tomorrow.", examples=[0])


class NumberPacingState(BaseModel):
    """The pacing of a number, and what waits for it."""

    integration_id: UUID
    settings: Pacing = Field(description="What counts for this number.")
    own: PacingChange = Field(
        description="What is set for this number alone; null: as in its organization."
    )
    waiting: int = Field(description="Messages that wait their turn.", examples=[120])
    last_turn_at: datetime | None = Field(
        default=None, description="When the last of them has its turn."
    )
    warm_up: WarmUpState | None = Field(default=None, description="Null: it is not in a warm-up.")


class PacingState(BaseModel):
    """The pacing of an organization and of each of its numbers."""

    settings: Pacing = Field(description="What counts for numbers without settings of their own.")
    own: PacingChange = Field(
        description="What is set for this organization; null: as the server has it."
    )
    numbers: list[NumberPacingState]
