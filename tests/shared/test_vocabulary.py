"""What is written of messages, rows and outcomes that cannot be read holds nothing of them."""

from uuid import uuid4

import pytest
from pydantic import BaseModel, ValidationError

from shared import events, outcomes
from shared.database import models as rows

PRIVATE = "Your code is 4711"
MODELS = [
    model
    for module in (events, outcomes, rows)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_an_error_does_not_quote_what_it_is_about(model: type[BaseModel]) -> None:
    """It may end in a log or in a dead letter: neither JSON that is cut short nor a wrong field shows in it."""
    with pytest.raises(ValidationError) as cut:
        model.model_validate_json(f'{{"text": "{PRIVATE}')
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(PRIVATE)
    assert PRIVATE not in str(cut.value) + repr(wrong.value)


def test_a_wrong_field_is_named_and_not_quoted() -> None:
    """Whoever reads the error learns where to look."""
    given = {"id": str(uuid4()), "organization_id": str(uuid4()), "integration_id": str(uuid4())}
    with pytest.raises(ValidationError, match="to") as caught:
        events.SendEvent.model_validate(given | {"to": PRIVATE, "text": PRIVATE})
    assert PRIVATE not in str(caught.value)
