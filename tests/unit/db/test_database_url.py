"""A database URL is read strictly, and never quoted back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.db.server_checks import DatabaseUrlRefused, ExternalDatabase, parse_database_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://app:pw@127.0.0.1/keyreeve",
            ExternalDatabase("127.0.0.1", 5432, "app", "keyreeve", "pw", verified=False),
        ),
        (
            "postgres://app@localhost:6000/k?sslmode=disable",
            ExternalDatabase("localhost", 6000, "app", "k", None, verified=False),
        ),
        (
            "postgresql://a%40b:p%2Fw%3A@[::1]:5433/k",
            ExternalDatabase("::1", 5433, "a@b", "k", "p/w:", verified=False),
        ),
        (
            "postgresql://app@/k?host=/run/postgresql&port=5433",
            ExternalDatabase("/run/postgresql", 5433, "app", "k", None, verified=False),
        ),
        (
            "postgresql://app:pw@db.example.com/k?sslmode=verify-full",
            ExternalDatabase("db.example.com", 5432, "app", "k", "pw", verified=True),
        ),
        (
            "postgresql://app:pw@10.0.0.5/k?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            ExternalDatabase("10.0.0.5", 5432, "app", "k", "pw", verified=True, root_certificates=Path("/etc/ca.pem")),
        ),
    ],
)
def test_accepted(url: str, expected: ExternalDatabase) -> None:
    assert parse_database_url(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://app:pw@localhost/k", "must start with postgresql://"),
        ("postgresql+asyncpg://app:pw@localhost/k", "must start with postgresql://"),
        ("", "must start with postgresql://"),
        ("postgresql://app:pw@db.example.com/k", "verify-full"),
        ("postgresql://app:pw@db.example.com/k?sslmode=require", "verify-full"),
        ("postgresql://app:pw@db.example.com/k?sslmode=disable", "verify-full"),
        ("postgresql://app:pw@localhost.evil.example/k", "verify-full"),
        ("postgresql://app:pw@0.0.0.0/k", "verify-full"),
        ("postgresql://app:pw@localhost/k?sslmode=prefer", "nothing between"),
        ("postgresql://app:pw@/k?host=/run/pg&sslmode=verify-full", "Unix socket"),
        ("postgresql://app:pw@localhost", "user and a database"),
        ("postgresql://localhost/k", "user and a database"),
        ("postgresql://app@localhost/k/l", "user and a database"),
        ("postgresql://app:pw@/k", "one host"),
        ("postgresql://app:pw@localhost/k?host=/run/pg", "one host"),
        ("postgresql://app:pw@a,b/k?sslmode=verify-full", "one host"),
        ("postgresql://app:p#w@localhost/k", "percent-encode"),
        ("postgresql://app:pw@localhost:0/k", "1 to 65535"),
        ("postgresql://app:pw@localhost:65536/k", "1 to 65535"),
        ("postgresql://app:pw@localhost:x/k", "1 to 65535"),
        ("postgresql://app:pw@localhost/k?options=-cfsync%3Doff", "only these parameters"),
        ("postgresql://app:pw@localhost/k?sslmode=disable&sslmode=disable", "given twice"),
        ("postgresql://app:pw@localhost/k?sslmode", "malformed"),
        ("postgresql://app:p w@localhost/k", "spaces"),
        ("postgresql://app:pw@[::1/k", "malformed"),
        ("postgresql://app:pw@localhost/" + "k" * 4096, "longer than"),
    ],
)
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(DatabaseUrlRefused, match=reason) as raised:
        parse_database_url(url, "KEYREEVE_DATABASE_URL")
    assert str(raised.value).startswith("KEYREEVE_DATABASE_URL: ")


@given(st.text(max_size=60), st.sampled_from(["{}", "postgresql://app:{}@h/k", "postgresql://app:canary-pw@{}", "x{}"]))
def test_any_text_is_refused_or_read_and_never_quoted(text: str, shape: str) -> None:
    refusal: DatabaseUrlRefused | None = None
    try:
        found = parse_database_url(shape.format(text))
    except DatabaseUrlRefused as error:
        refusal = error
    if refusal is None:
        assert found.verified or found.host == "localhost" or found.host[0] in "/:1"
    else:
        assert "canary-pw" not in str(refusal)
        assert refusal.__context__ is None or refusal.__suppress_context__


def test_the_password_shows_in_no_repr() -> None:
    assert "canary" not in repr(parse_database_url("postgresql://app:canary@localhost/k"))


def test_both_spellings() -> None:
    found = parse_database_url("postgresql://app:p%40w@/k?host=/run/pg")
    assert found.connect_kwargs() == {
        "host": "/run/pg",
        "port": 5432,
        "user": "app",
        "database": "k",
        "ssl": False,
        "password": "p@w",
    }
    assert found.url() == "postgresql+asyncpg://app:p%40w@/k?host=%2Frun%2Fpg&port=5432"
    remote = parse_database_url("postgresql://app:pw@db.example.com/k?sslmode=verify-full")
    context = remote.connect_kwargs()["ssl"]
    assert context.check_hostname
    assert remote.engine_arguments()["connect_args"]["ssl"].verify_mode.name == "CERT_REQUIRED"
    assert remote.url() == "postgresql+asyncpg://app:pw@db.example.com:5432/k"
