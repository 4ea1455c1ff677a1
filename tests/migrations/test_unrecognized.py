"""What was not understood: SQL and Python name the same results."""

from typing import get_args

from shared.outcomes import UNRECOGNIZED_RESULTS
from shared.webhooks.vocabulary import EventType
from tests.migrations.conftest import Tenant


def test_python_and_sql_call_the_same_results_unrecognized(tenant: Tenant) -> None:
    """An index and two functions of SQL have the list as well."""
    words = [*UNRECOGNIZED_RESULTS, *get_args(EventType), "dead", "proof", "status:read"]
    rows = tenant.rows("select w from unnest(%s::text[]) as w where wpp.is_unrecognized(w)", words)
    assert sorted({row["w"] for row in rows}) == sorted(UNRECOGNIZED_RESULTS)
    (index,) = tenant.rows(
        "select pg_get_expr(i.indpred, i.indrelid) as predicate from pg_index i "
        "where i.indexrelid = 'wpp_webhook_log_unrecognized'::regclass"
    )
    (function,) = tenant.rows(
        "select prosrc from pg_proc where proname = 'wpp_unrecognized_webhooks'"
    )
    for word in UNRECOGNIZED_RESULTS:
        assert f"'{word}'" in index["predicate"]
        assert function["prosrc"].count(f"'{word}'") == 2
