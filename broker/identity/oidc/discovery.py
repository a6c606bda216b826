"""A provider's description of itself (OpenID Connect Discovery 1.0 § 3, § 4), read strictly. Pure."""

from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from broker.identity.oidc.errors import BadProvider
from broker.identity.oidc.keys import ALGORITHMS
from connectors.egress import EgressPolicy, check_origin, check_target
from connectors.errors import EgressRefused

MAX_ISSUER: Final = 250
MAX_ADDRESS: Final = 1000
WELL_KNOWN: Final = "/.well-known/openid-configuration"
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is used of a description. `authentication`: how the token endpoint takes a client secret; None: no way that
    is known here."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None
    jwks_uri: str
    authentication: Literal["basic", "post"] | None
    names_itself: bool
    """Whether its answers carry `iss` (RFC 9207): then one without is not its own."""


def address_of(issuer: str) -> str:
    """Where an issuer's description is (Discovery § 4.1)."""
    return issuer.removesuffix("/") + WELL_KNOWN


def check_issuer(issuer: str, policy: EgressPolicy) -> None:
    """Returns if `issuer` can be one: an origin that may be reached, and a path. Raises BadProvider, EgressRefused."""
    if len(issuer) > MAX_ISSUER or "?" in issuer or "#" in issuer:
        raise BadProvider(f"an issuer is at most {MAX_ISSUER} characters, without query and fragment")
    check_endpoint(issuer, policy)
    check_target(urlsplit(address_of(issuer)).path)


def check_endpoint(url: str, policy: EgressPolicy) -> None:
    """Returns if `url` is an address that a provider's endpoint may have: https, but where the operator allowed more.
    Raises BadProvider, EgressRefused."""
    if len(url) > MAX_ADDRESS or not url.isascii() or not url.isprintable() or " " in url or "#" in url:
        raise BadProvider("an address in it is too long, or holds a fragment or characters that none may hold")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise BadProvider("an address in it cannot be read") from None
    origin = f"{parts.scheme}://{parts.netloc}"
    if str(check_origin(origin, policy=policy)) != origin:
        raise EgressRefused("origin", "write the host in lower case, without the port that is the scheme's own")
    if parts.path:
        check_target(parts.path.removesuffix("/") or "/", parts.query)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address that was checked."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def read_metadata(given: Any, issuer: str, policy: EgressPolicy) -> Metadata:
    """The description, if it is this very issuer's and can be worked with. Raises BadProvider, EgressRefused."""
    if not isinstance(given, dict):
        raise BadProvider("its description is not a JSON object")
    if given.get("issuer") != issuer:
        # Discovery § 4.3: exactly, so that no other provider's description is taken for this one's.
        raise BadProvider("its description names another issuer than the address it was asked at, letter by letter")
    found = {name: _address(given, name, policy) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    if "userinfo_endpoint" in given:
        found["userinfo_endpoint"] = _address(given, "userinfo_endpoint", policy)
    for name in found.keys() - {"authorization_endpoint"}:  # that one is the browser's to fetch
        _check_asked(found[name], issuer, policy)
    _supports(given, "response_types_supported", {"code"}, "the authorization code flow", absent=False)
    _supports(given, "code_challenge_methods_supported", {"S256"}, "PKCE with S256", absent=True)
    _supports(given, "id_token_signing_alg_values_supported", ALGORITHMS, "ID tokens signed by public key", absent=True)
    return Metadata(
        issuer=issuer,
        authorization_endpoint=found["authorization_endpoint"],
        token_endpoint=found["token_endpoint"],
        userinfo_endpoint=found.get("userinfo_endpoint"),
        jwks_uri=found["jwks_uri"],
        authentication=_authentication(given),
        names_itself=given.get("authorization_response_iss_parameter_supported") is True,
    )


def _address(given: dict[str, Any], name: str, policy: EgressPolicy) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise BadProvider(f"its description lacks {name}")
    check_endpoint(value, policy)
    return value


def _check_asked(url: str, issuer: str, policy: EgressPolicy) -> None:
    """Returns if an issuer may have us ask at `url`. What the operator opened is open to the issuer that is there, and
    not to whatever a tenant's issuer elsewhere points us at. Raises EgressRefused."""
    origin = check_origin(origin_of(url), policy=policy)
    if policy.allows(origin.host, origin.port) and origin_of(url) != origin_of(issuer):
        raise EgressRefused("origin", "an endpoint inside this network must be at the issuer's own origin")


def _texts(given: dict[str, Any], name: str) -> list[str] | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > _MOST:
        raise BadProvider(f"its description's {name} is not a short list")
    return [v for v in value if isinstance(v, str)]


def _supports(given: dict[str, Any], name: str, wanted: set[str] | frozenset[str], told: str, *, absent: bool) -> None:
    """Returns if the list `name` holds one of `wanted`; `absent`: also where there is no such list."""
    value = _texts(given, name)
    if value is None and absent:
        return
    if not wanted & set(value or ()):
        raise BadProvider(f"it does not offer {told} ({name})")


def _authentication(given: dict[str, Any]) -> Literal["basic", "post"] | None:
    methods = _texts(given, "token_endpoint_auth_methods_supported")
    if methods is None or "client_secret_basic" in methods:  # Discovery § 3: the default
        return "basic"
    return "post" if "client_secret_post" in methods else None
