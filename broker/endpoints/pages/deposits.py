"""Between a form and a credential, and between what is wrong with it and the page. Pure. No secret comes back out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker.accounts.offers import Offer
from broker.errors import Problem, invalid
from broker.logs import redact
from connectors.base import CredentialKind

Filled = Mapping[str, str]

# Only what cannot be a token that was pasted into the wrong field is shown again.
_SHOWN_AGAIN: Final[Mapping[str, re.Pattern[str]]] = {
    "account_id": re.compile(r"[0-9a-f]{32}"),
    "email": re.compile(r"[^@\s]{1,64}@[A-Za-z0-9.-]{1,190}"),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is wrong: `general` sentences, and by field of the form what its own problem is."""

    general: tuple[str, ...]
    fields: Mapping[str, str]


def kind_of(offer: Offer, fields: Mapping[str, str]) -> CredentialKind:
    """The kind that the form names. Raises Problem `invalid_input`."""
    found = next((k for k in offer.kinds if k.name == fields.get("kind")), None)
    if found is None:
        raise invalid("kind", "choose what kind of credential it is")
    return found


def credential_of(offer: Offer, fields: Mapping[str, str]) -> dict[str, object]:
    """The credential that the form holds, as a deposit over the API would. What surrounds a pasted text is cut off."""
    kind = kind_of(offer, fields)
    credential: dict[str, object] = {"kind": kind.name}
    for name in kind.fields:
        given = fields.get(name, "").strip()
        if name == "permissions":
            listed = [line.strip() for line in given.replace(",", "\n").splitlines() if line.strip()]
            if listed:
                credential[name] = listed
        elif given:
            credential[name] = given
    return credential


def filled(offer: Offer, fields: Mapping[str, str]) -> Filled:
    """What the form may show again."""
    kind = next((k for k in offer.kinds if k.name == fields.get("kind")), None)
    shown = {}
    for name in () if kind is None else kind.fields:
        shape, given = _SHOWN_AGAIN.get(name), fields.get(name, "").strip()
        if shape is not None and name not in (kind.secret_fields if kind else ()) and shape.fullmatch(given):
            shown[name] = given
    return shown


def failures(problem: Problem, offer: Offer) -> Shown:
    """A refused deposit for people: each field's problem at the field, all else above the form."""
    fields: dict[str, str] = {}
    for field in problem.fields:
        name = field.path.removeprefix("credential.")
        fields.setdefault(name, redact(_sentence(field.problem)))
    general = [] if fields else [redact(_sentence(problem.detail))]
    if problem.code == "principal_changed":
        general = [
            "This credential belongs to somebody else upstream than the one connected now. Nothing was changed.",
            "Check that you are signed in to the upstream as yourself; if the change is meant, ask your admin to "
            "replace the account.",
        ]
    elif problem.hint:
        general.append(redact(_sentence(problem.hint)))
    if problem.retry_after is not None:
        general.append(f"Try again in {problem.retry_after} seconds.")
    known = {name for kind in offer.kinds for name in kind.fields} | {"kind"}
    general += [f"{name}: {told}" for name, told in fields.items() if name not in known]
    return Shown(tuple(general), {name: told for name, told in fields.items() if name in known})


def _sentence(text: str) -> str:
    """Our sentences begin small where they follow a field's name."""
    text = text.strip()
    told = text[:1].upper() + text[1:]
    return told if told.endswith((".", "!", "?", "…")) else f"{told}."
