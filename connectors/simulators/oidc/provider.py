"""The provider's state: people, clients, keys, codes; and its tokens, true or not."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from connectors.simulators.oidc.lies import CLAIMS, EVENT, LOGOUTS

Key = RSAKey | ECKey | OKPKey

_GENERATE: Final[dict[str, Callable[[], Key]]] = {
    "RS256": lambda: RSAKey.generate_key(2048),
    "PS256": lambda: RSAKey.generate_key(2048),
    "ES256": lambda: ECKey.generate_key("P-256"),
    "EdDSA": lambda: OKPKey.generate_key("Ed25519"),
}
LIFETIME: Final = 300
LOGOUT_LIFETIME: Final = 120
SECONDS: Final = 30


class _Registry(jws.JWSRegistry):
    max_header_length = 100_000


@dataclass(slots=True)
class Account:
    """A person of the provider's. `thin`: the ID token holds no e-mail address, userinfo does. `session`: the `sid` of
    their sign-ins, where there is one."""

    subject: str
    email: str | None = None
    email_verified: Any = True
    name: str | None = None
    thin: bool = False
    session: str | None = None


@dataclass(slots=True)
class Client:
    """A relying party. `secret` None: public. `logout_uri`: where logout tokens go."""

    client_id: str
    secret: str | None
    redirect_uris: list[str]
    logout_uri: str | None = None


@dataclass(slots=True)
class Grant:
    """What a code stands for."""

    account: Account
    client_id: str
    redirect_uri: str
    nonce: str | None
    challenge: str
    used: bool = False


@dataclass(slots=True)
class SigningKey:
    """A private key, under the id it is published by."""

    kid: str
    algorithm: str
    key: Key


class Provider:
    """All of it. `now` answers seconds since 1970. `lies` are names out of `lies.py`; `current` is who the next browser
    is signed in as, None: the provider says no. `asked` are the paths it was asked for."""

    def __init__(self, now: Callable[[], float], *, algorithm: str = "RS256") -> None:
        self.issuer = ""
        self.now = now
        self.clients: dict[str, Client] = {}
        self.current: Account | None = None
        self.lies: set[str] = set()
        self.asked: list[str] = []
        self.arrived: list[dict[str, str]] = []
        self.seen = threading.Lock()
        self.keys: list[SigningKey] = []
        self.announces_issuer = True
        self.methods: list[str] = ["client_secret_basic", "client_secret_post"]
        self._codes: dict[str, Grant] = {}
        self._tokens: dict[str, Account] = {}
        self.rotate(algorithm)

    def rotate(self, algorithm: str = "RS256") -> None:
        """A new key; the ones before are published no more."""
        self.keys = [SigningKey(secrets.token_hex(8), algorithm, _GENERATE[algorithm]())]

    def published(self) -> list[dict[str, Any]]:
        """The public keys, as JWKs."""
        if "no usable key" in self.lies:
            return [{"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}]
        return [
            dict(k.key.as_dict(private=False)) | {"kid": k.kid, "alg": k.algorithm, "use": "sig"} for k in self.keys
        ]

    def code(self, grant: Grant) -> str:
        """A code for a sign-in."""
        made = secrets.token_urlsafe(24)
        self._codes[made] = grant
        return made

    def redeem(self, code: str, client_id: str, redirect_uri: str, verifier: str) -> dict[str, Any] | None:
        """The token endpoint's answer; None where the code is not good for that."""
        grant = self._codes.get(code)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if grant is None or grant.used:
            return None
        if (grant.client_id, grant.redirect_uri, grant.challenge) != (client_id, redirect_uri, challenge):
            return None
        grant.used = "codes work for ever" not in self.lies
        access = secrets.token_urlsafe(24)
        self._tokens[access] = grant.account
        answer: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": LIFETIME}
        if "no id token" not in self.lies:
            answer["id_token"] = self.id_token(grant)
        if "token answer is huge" in self.lies:
            answer["padding"] = "x" * 200_000
        return answer

    def about(self, access_token: str) -> dict[str, Any] | None:
        """Userinfo."""
        account = self._tokens.get(access_token)
        if account is None:
            return None
        subject = "somebody-else" if "userinfo of somebody else" in self.lies else account.subject
        return {"sub": subject} | _profile(account)

    def id_token(self, grant: Grant) -> str:
        """The ID token, with the lies in force."""
        now = int(self.now())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": grant.account.subject,
            "aud": grant.client_id,
            "iat": now,
            "exp": now + LIFETIME,
        }
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce
        if grant.account.session is not None:
            claims["sid"] = grant.account.session
        if not grant.account.thin:
            claims |= _profile(grant.account)
        for lie in self.lies & CLAIMS.keys():
            CLAIMS[lie](claims)
        return self.signed(claims)

    def logout_token(self, client_id: str, *, subject: str | None = None, session: str | None = None) -> str:
        """A logout token, with the lies in force."""
        now = int(self.now())
        claims: dict[str, Any] = {"iss": self.issuer, "aud": client_id, "iat": now, "exp": now + LOGOUT_LIFETIME}
        claims |= {"jti": secrets.token_urlsafe(16), "events": {EVENT: {}}}
        claims |= {name: value for name, value in (("sub", subject), ("sid", session)) if value is not None}
        lies = dict(CLAIMS) | dict(LOGOUTS)
        for lie in self.lies & lies.keys():
            lies[lie](claims)
        return self.signed(claims, "logout+jwt")

    def sign_out(self, account: Account) -> dict[str, int]:
        """Ends the account's session, or without one all of its, and tells every client that asked for it; what each
        answered."""
        told = {}
        for client in self.clients.values():
            if client.logout_uri is not None:
                token = self.logout_token(client.client_id, subject=account.subject, session=account.session)
                told[client.client_id] = deliver(client.logout_uri, token)
        return told

    def signed(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        """A token over `claims`, with the lies about signatures in force."""
        used = self.keys[0]
        header: dict[str, Any] = {"alg": used.algorithm, "kid": used.kid, "typ": typ}
        key: Any = used.key
        if "unknown key id" in self.lies:
            header["kid"] = "nobody-knows"
        if "critical header" in self.lies:
            header |= {"crit": ["exp"], "exp": 1}
        if "another type" in self.lies:
            header["typ"] = "at+jwt"
        if "another key under the same id" in self.lies:
            key = _GENERATE[used.algorithm]()
        if "a key of its own in the header" in self.lies:
            key = _GENERATE[used.algorithm]()
            header["jwk"] = key.as_dict(private=False)
        if "a key elsewhere" in self.lies:
            key = _GENERATE[used.algorithm]()
            header["jku"] = f"{self.issuer}/other-keys"
        if "signed with the public key" in self.lies:
            return _shared(header | {"alg": "HS256"}, claims, used.key.as_bytes(encoding="PEM", private=False))
        if self.lies & {"unsigned", "unsigned but signed"}:
            signature = "" if "unsigned" in self.lies else _sign(header, claims, key).rpartition(".")[2]
            return f"{_part({'alg': 'none'})}.{_part(claims)}.{signature}"
        return self._bent(_sign(header, claims, key), claims)

    def _bent(self, token: str, claims: dict[str, Any]) -> str:
        head, _, signature = token.split(".")
        if "edited" in self.lies:
            return f"{head}.{_part(claims | {'sub': 'the-boss'})}.{signature}"
        return token[:-8] if "cut short" in self.lies else token


def deliver(uri: str, token: str) -> int:
    """Posts a logout token as § 2.5 says; the status answered."""
    parts = urlsplit(uri)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=SECONDS)
    try:
        body = urlencode({"logout_token": token})
        connection.request("POST", parts.path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        return connection.getresponse().status
    finally:
        connection.close()


def _profile(account: Account) -> dict[str, Any]:
    told: dict[str, Any] = {} if account.name is None else {"name": account.name}
    if account.email is not None:
        told |= {"email": account.email, "email_verified": account.email_verified}
    return told


def _sign(header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
    registry = _Registry(algorithms=[header["alg"]], strict_check_header=False)
    plain = {name: value for name, value in header.items() if name not in ("crit", "jwk")}
    if plain == header:
        return jws.serialize_compact(header, json.dumps(claims), key, registry=registry)
    # What the library would not write.
    model = registry.get_alg(header["alg"])
    signed = f"{_part(header)}.{_part(claims)}"
    return f"{signed}.{base64.urlsafe_b64encode(model.sign(signed.encode(), key)).rstrip(b'=').decode()}"


def _shared(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """HS256 by hand: the library takes no public key for a secret."""
    signed = f"{_part(header)}.{_part(claims)}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
