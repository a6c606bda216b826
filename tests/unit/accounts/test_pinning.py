"""Which changes of a description wait for an admin, given what grants cover."""

from broker.accounts.pinning import SHOWN, must_wait, report
from connectors.openapi.diff import OperationChange, SpecDiff
from connectors.openapi.model import OperationRow


def _row(ref: str, operation_id: str | None = None) -> OperationRow:
    method, path = ref.split(" ")
    return OperationRow(operation_id or ref, method, path, "", (), False, None, (), 0)


def _diff(
    *,
    added: tuple[str, ...] = (),
    removed: tuple[str, ...] = (),
    changed: tuple[tuple[str, str, tuple[str, ...]], ...] = (),
) -> SpecDiff:
    return SpecDiff(
        "a" * 64,
        "b" * 64,
        tuple(OperationChange(ref, (), None, _row(ref)) for ref in added),
        tuple(OperationChange(ref, (), _row(ref), None) for ref in removed),
        tuple(OperationChange(new, what, _row(old, "op"), _row(new, "op")) for old, new, what in changed),
    )


def test_an_added_operation_waits_only_where_a_grant_covers_it() -> None:
    diff = _diff(added=("GET /zones/{z}/new", "POST /accounts"))
    assert must_wait(diff, ["GET /zones/**"]) == ["GET /zones/{z}/new"]
    assert must_wait(diff, ["GET /radar/**"]) == []
    assert must_wait(diff, []) == []


def test_a_grant_of_everything_covers_everything() -> None:
    assert must_wait(_diff(added=("POST /accounts",)), None) == ["POST /accounts"]


def test_what_moves_waits_under_its_old_and_under_its_new_name() -> None:
    diff = _diff(changed=(("GET /old", "GET /new", ("moved",)),))
    assert must_wait(diff, ["GET /old"]) == ["GET /new"]
    assert must_wait(diff, ["GET /new"]) == ["GET /new"]
    assert must_wait(diff, ["GET /other"]) == []
    assert must_wait(diff, ["op"]) == ["GET /new"]


def test_every_word_that_widens_waits_and_form_alone_does_not() -> None:
    for word in ("moved", "renamed", "method", "groups", "permissions"):
        assert must_wait(_diff(changed=(("GET /a", "GET /a", (word, "body")),)), None) == ["GET /a"], word
    for words in (("parameters",), ("body", "responses"), ("deprecated",), ("undeprecated",)):
        assert must_wait(_diff(changed=(("GET /a", "GET /a", words),)), None) == [], words


def test_what_is_removed_does_not_wait() -> None:
    assert must_wait(_diff(removed=("GET /a",)), None) == []


def test_a_report_is_bounded_and_its_counts_are_whole() -> None:
    found = report(_diff(added=tuple(f"GET /a/{n}" for n in range(SHOWN + 50))))
    assert found["added_count"] == SHOWN + 50
    assert len(found["added"]) == SHOWN
    assert found["changed"] is True
    assert report(_diff())["changed"] is False
    assert report(None) == {"changed": True, "first": True}
