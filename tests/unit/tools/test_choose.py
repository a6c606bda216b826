"""Which account a call uses."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from broker.domain import Account, AccountStatus, Connection, Grant
from broker.errors import Problem
from broker.tools.choose import choose_account

CONNECTION = Connection(uuid4(), "cf", "cloudflare", 1, "active")
ME = uuid4()


def account(owner: UUID | None = ME, status: AccountStatus = "active", label: str | None = None) -> Account:
    return Account(uuid4(), CONNECTION.id, owner, label, status, "api_token", 1, 1, None, None)


def grant(kind: str = "shared") -> Grant:
    assert kind in ("own", "shared")
    return Grant(uuid4(), "everyone", CONNECTION.id, None, "read", None, None, None, kind, None)  # type: ignore[arg-type]


def refused(*accounts: Account, grants: tuple[Grant, ...] = (), named: UUID | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        choose_account(CONNECTION, accounts, grants, named)
    return caught.value


def test_the_only_own_account_is_taken() -> None:
    mine = account()
    assert choose_account(CONNECTION, [mine, account(None)], [grant()], None) is mine


def test_a_named_account_is_taken_though_several_fit() -> None:
    one, two = account(label="a"), account(label="b")
    assert choose_account(CONNECTION, [one, two], [], two.id) is two


def test_several_are_ambiguous_and_listed() -> None:
    one, two = account(label="a"), account(label="b")
    problem = refused(one, two)
    assert problem.code == "ambiguous_account"
    assert {a["connected_account_id"] for a in problem.extra["accounts"]} == {str(one.id), str(two.id)}


def test_a_revoked_own_account_never_falls_back_to_the_shared_one() -> None:
    problem = refused(account(status="revoked"), account(None), grants=(grant(),))
    assert problem.code == "revoked"


def test_a_shared_account_needs_a_grant_that_says_so() -> None:
    shared = account(None)
    assert refused(shared).code == "not_connected"
    assert refused(shared, grants=(grant("own"),)).code == "not_connected"
    assert choose_account(CONNECTION, [shared], [grant()], None) is shared


@pytest.mark.parametrize(
    ("status", "code"), [("pending", "not_connected"), ("needs_reauth", "needs_reauth"), ("revoked", "revoked")]
)
def test_an_unusable_account_says_why(status: AccountStatus, code: str) -> None:
    assert refused(account(status=status)).code == code
    one = account(status=status)
    assert refused(one, named=one.id).code == code


def test_a_named_account_of_somebody_else_is_not_connected() -> None:
    assert refused(account(), named=uuid4()).code == "not_connected"


def test_another_connections_account_does_not_fit() -> None:
    other = Account(uuid4(), uuid4(), ME, None, "active", "api_token", 1, 1, None, datetime.now(UTC))
    assert refused(other).code == "not_connected"
