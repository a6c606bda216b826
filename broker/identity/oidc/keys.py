"""A provider's keys (RFC 7517), of which only public ones that sign with an allowed algorithm are taken. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from broker.identity.oidc.errors import BadProvider, UnknownKey

PublicKey = RSAKey | ECKey | OKPKey

ALGORITHMS: Final = frozenset({"RS256", "PS256", "ES256", "EdDSA"})
"""What an ID token may be signed with. No `none`, and nothing with a shared secret: a public key is no secret, and a
verifier that takes both can be made to use the one as the other (RFC 8725 § 2.1, § 3.1)."""
MAX_KEYS: Final = 50
MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "RSA": frozenset({"RS256", "PS256"}),
    "EC": frozenset({"ES256"}),
    "OKP": frozenset({"EdDSA"}),
}
_MEMBERS: Final = ("kty", "n", "e", "crv", "x", "y")
_MAX_MEMBER: Final = 2000


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key, and what it may have signed."""

    kid: str | None
    algorithms: frozenset[str]
    key: PublicKey = field(repr=False)


def read_keys(given: Any) -> tuple[SigningKey, ...]:
    """The keys of a JWK set that can sign ID tokens; others are passed over (RFC 7517 § 5). Raises BadProvider."""
    listed = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise BadProvider(f"its keys are not a list of at most {MAX_KEYS}")
    found = [key for key in map(_read, listed) if key is not None]
    if not found:
        raise BadProvider("it publishes no key that signs with RS256, PS256, ES256 or EdDSA")
    return tuple(found)


def choose(keys: Sequence[SigningKey], algorithm: str, kid: str | None) -> PublicKey:
    """The one key that a token says it was signed with. Raises UnknownKey.

    Without a key id there must be no choice: trying one key after the other would let a token choose its own.
    """
    fit = [k for k in keys if algorithm in k.algorithms and (kid is None or k.kid == kid)]
    if len(fit) != 1:
        raise UnknownKey("it is signed with a key that the provider does not publish")
    return fit[0].key


def _read(given: Any) -> SigningKey | None:
    if not isinstance(given, dict):
        return None
    kty, use, ops, alg, kid = (given.get(name) for name in ("kty", "use", "key_ops", "alg", "kid"))
    algorithms = _KINDS.get(kty) if isinstance(kty, str) else None
    if algorithms is None or use not in (None, "sig") or (kid is not None and not isinstance(kid, str)):
        return None
    if ops is not None and (not isinstance(ops, list) or "verify" not in ops):
        return None
    if alg is not None:
        algorithms = algorithms & {alg} if isinstance(alg, str) else frozenset()
    key = _public(given)
    return SigningKey(kid, algorithms, key) if algorithms and key is not None else None


def _public(given: Mapping[str, Any]) -> PublicKey | None:
    members = {name: given[name] for name in _MEMBERS if name in given}
    if not all(isinstance(v, str) and len(v) <= _MAX_MEMBER for v in members.values()):
        return None
    try:
        key = import_key(members)
        if isinstance(key, RSAKey):
            return key if MIN_RSA_BITS <= key.public_key.key_size <= MAX_RSA_BITS else None
        if isinstance(key, ECKey):
            return key if key.curve_name == "P-256" and key.public_key is not None else None
        if isinstance(key, OKPKey):
            return key if key.curve_name == "Ed25519" and key.public_key is not None else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return None
