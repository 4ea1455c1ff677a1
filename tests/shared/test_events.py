"""A validation error of an event, an outcome or a row quotes none of its content."""

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
def test_a_validation_error_quotes_no_content(model: type[BaseModel]) -> None:
    """The error may be logged or stored: truncated JSON and wrong values are left out of it."""
    with pytest.raises(ValidationError) as cut:
        model.model_validate_json(f'{{"text": "{PRIVATE}')
    with pytest.raises(ValidationError) as wrong:
        model.model_validate(PRIVATE)
    assert PRIVATE not in str(cut.value) + repr(wrong.value)


def test_a_wrong_field_is_named_without_its_value() -> None:
    """The name of the field is enough to find the fault."""
    given = {"id": str(uuid4()), "organization_id": str(uuid4()), "integration_id": str(uuid4())}
    with pytest.raises(ValidationError, match="to") as caught:
        events.SendEvent.model_validate(given | {"to": PRIVATE, "text": PRIVATE})
    assert PRIVATE not in str(caught.value)
