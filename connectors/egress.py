"""The one egress rule: which origins, addresses and request targets Keyreeve may ever send to.

Pure: no resolution, no sockets. Every HTTP client of the product asks here (`check_origin` before a request,
`check_address` for each resolved address at connect time, `check_target` for the exact bytes of a path and
query).

The default is the public Internet over https on port 443. Plain http, other ports and addresses that are not
public (RFC 6890 and the IANA special-purpose registries) are refused, unless the operator named HOST:PORT
with `--allow-upstream`; multicast and the unspecified address are refused even then.
"""

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

import idna

from connectors.errors import EgressRefused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_ORIGIN: Final = 300
MAX_PATH: Final = 8_192
MAX_QUERY: Final = 32_768

_ORIGIN = re.compile(r"(https?)://([^/?#\\@]*)", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_DOTTED_QUAD = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_NUMBER_LIKE = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_SUFFIXES = (
    ".localhost",
    ".local",
    ".internal",
    ".home.arpa",
    ".localdomain",
    ".lan",
    ".intranet",
    ".corp",
)

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~:-]*)+")
_PATH = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What the operator opened beyond the public Internet: exact (host, port) pairs, host lower-case
    ASCII.
    """

    allowed_upstreams: frozenset[tuple[str, int]] = frozenset()

    @classmethod
    def parse(cls, entries: tuple[str, ...] | list[str]) -> "EgressPolicy":
        """From `--allow-upstream HOST:PORT` values; IPv6 hosts in brackets.

        Raises:
            EgressRefused: an entry is not HOST:PORT with a canonical host.
        """
        pairs = set()
        for entry in entries:
            host, port = _split_authority(entry)
            if port is None:
                raise EgressRefused("port", f"--allow-upstream {entry[:100]!r} needs a port: HOST:PORT.")
            pairs.add((_canonical_host(host), port))
        return cls(frozenset(pairs))

    def allows(self, host: str, port: int) -> bool:
        return (host, port) in self.allowed_upstreams


@dataclass(frozen=True, slots=True)
class Origin:
    """A canonical origin. `str()` is `scheme://host`, with the port where it is not the scheme's own."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == default else f":{self.port}")


def check_origin(text: str, *, policy: EgressPolicy) -> Origin:
    """The canonical form of `scheme://host[:port]`, a single trailing slash tolerated.

    Raises:
        EgressRefused: with the rule broken and what an admin can do.
    """
    if len(text) > MAX_ORIGIN:
        raise EgressRefused("length", f"The origin is longer than {MAX_ORIGIN} characters.")
    match = _ORIGIN.match(text)
    if match is None:
        raise EgressRefused("scheme", "An upstream is written https://HOST, with no user name or password.")
    rest = text[match.end() :]
    if rest not in ("", "/"):
        raise EgressRefused("origin", "An origin has no path, query, fragment, user name or backslash.")
    scheme = match[1].lower()
    host, port = _split_authority(match[2])
    origin = Origin(scheme, _canonical_host(host), (443 if scheme == "https" else 80) if port is None else port)
    if policy.allows(origin.host, origin.port):
        literal = _literal(origin.host)
        if literal is not None:
            check_address(str(literal), origin.host, origin.port, policy=policy, scheme=scheme)
        return origin
    _check_unlisted(origin, policy)
    return origin


def check_address(address: str, host: str, port: int, *, policy: EgressPolicy, scheme: str = "https") -> None:
    """Refuses a resolved address that is not public, unless `host:port` is listed by the operator.

    A listed *name* opens loopback and private networks only: what a name resolves to is in the hands of
    whoever runs its DNS, so link-local (cloud metadata) and transition addresses open only where the literal
    address is listed.

    Raises:
        EgressRefused
    """
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError as exc:
        raise EgressRefused("address", f"{host} resolved to something that is not an address.") from exc
    if "%" in address or parsed.is_multicast or parsed.is_unspecified or parsed == _BROADCAST:
        raise EgressRefused("address", f"{host} resolves to {parsed}, which no upstream can have.")
    kind = _kind(parsed)
    listed = policy.allows(host, port)
    if kind == "public":
        if scheme != "https":
            raise EgressRefused("plain_http", f"{host} is public; use https:// so the credential is not sent in clear.")
        return
    literal = _literal(host)
    if listed and (kind == "private" or literal == parsed):
        return
    raise EgressRefused(
        "private_address",
        f"{host} resolves to {parsed}, a {kind} address. To allow it, start the server with "
        f"--allow-upstream {host}:{port}.",
    )


def check_target(path: str, query: str = "") -> None:
    """Refuses a request target that is not canonical: what policy matched must be what the upstream reads.

    `path` begins with "/", is percent-encoded ASCII, and has no empty, `.` or `..` segment in any spelling
    (raw or encoded, again or behind `;` or a backslash) and no control character, raw or encoded. `query` is
    percent-encoded ASCII without "#".

    Raises:
        EgressRefused
    """
    if len(path) > MAX_PATH or len(query) > MAX_QUERY:
        raise EgressRefused("length", f"A path may have {MAX_PATH} characters and a query {MAX_QUERY}.")
    if query and _QUERY.fullmatch(query) is None:
        raise EgressRefused("query", "The query has a character that must be percent-encoded.")
    if _PLAIN_PATH.fullmatch(path) is not None:
        return
    if _PATH.fullmatch(path) is None:
        raise EgressRefused("path", "The path must begin with / and be percent-encoded ASCII.")
    if "//" in path:
        raise EgressRefused("path", "The path has an empty segment (//).")
    _check_segments(path)


def _check_segments(path: str) -> None:
    decoded = path.encode()
    for _ in range(4):
        if any(byte < 0x20 or byte == 0x7F for byte in decoded):
            raise EgressRefused("path", "The path holds a control character.")
        for segment in re.split(rb"[/\\]", decoded):
            if segment.split(b";", 1)[0] in (b".", b".."):
                raise EgressRefused("path", "The path has a segment . or .., which could lead elsewhere.")
        if b"\\" in decoded:
            raise EgressRefused("path", "The path holds a backslash.")
        again = unquote_to_bytes(decoded)
        if again == decoded:
            return
        decoded = again
    raise EgressRefused("path", "The path is percent-encoded more than three times over.")


def _split_authority(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, tail = text[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise EgressRefused("host", "An IPv6 host is written in brackets: [2001:db8::1]:443.")
        if "." in host or ":" not in host:
            raise EgressRefused("host", "The host in brackets is not a plain IPv6 address.")
        port_text = tail[1:] if tail else None
    else:
        host, colon, port_part = text.partition(":")
        port_text = port_part if colon else None
    if port_text is None:
        return host, None
    if _PORT.fullmatch(port_text) is None or not port_text.isascii() or not 0 < int(port_text) < 65_536:
        raise EgressRefused("port", "A port is a number from 1 to 65535.")
    return host, int(port_text)


@lru_cache(maxsize=1024)
def _canonical_host(host: str) -> str:
    """Lower-case ASCII host; an internationalised name becomes punycode (UTS 46), an IPv6 address its short
    form.
    """
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as exc:
            raise EgressRefused("host", "The host is not a valid IPv6 address.") from exc
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True, std3_rules=True).decode()
        except idna.IDNAError as exc:
            raise EgressRefused("host", "The host is not a valid internationalised name.") from exc
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if not host or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefused("host", "The host is not a valid name: letters, digits, hyphens and single dots.")
    if _NUMBER_LIKE.fullmatch(labels[-1]) is None:
        return host
    # WHATWG URL § 3.5: a name that ends in a number is an IPv4 address in some spelling. Only the plain one
    # is taken.
    if _DOTTED_QUAD.fullmatch(host) is None or any(int(part) > 255 for part in labels):
        raise EgressRefused("host", "Write an IPv4 address as four decimal numbers without leading zeros.")
    return host


def _check_unlisted(origin: Origin, policy: EgressPolicy) -> None:
    host, port = origin.host, origin.port
    opened = f"To allow it, start the server with --allow-upstream {host}:{port}."
    if origin.scheme != "https":
        raise EgressRefused("plain_http", f"Plain http would send the credential in clear. {opened}")
    if port != 443:
        raise EgressRefused("port", f"Port {port} is not 443. {opened}")
    literal = _literal(host)
    if literal is not None:
        check_address(str(literal), host, port, policy=policy)
    elif host == "localhost" or host.endswith(_LOCAL_SUFFIXES) or "." not in host:
        raise EgressRefused("local_name", f"{host} is a local name. {opened}")


def _literal(host: str) -> IPAddress | None:
    if ":" in host or _DOTTED_QUAD.fullmatch(host) is not None:
        return ipaddress.ip_address(host)
    return None


_BROADCAST: Final = ipaddress.ip_address("255.255.255.255")
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
        "::1/128", "fc00::/7",
    )
)  # fmt: skip
# What clouds put where other addresses are ordinary; they open like link-local. EC2's metadata, time and DNS (inside
# the unique-local block), Alibaba Cloud's metadata (inside CGNAT), Azure's WireServer (a public address).
_METADATA: Final = tuple(
    ipaddress.ip_network(text) for text in ("fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32")
)
_SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/3",
    )
)  # fmt: skip
_GLOBAL_UNICAST_6: Final = ipaddress.ip_network("2000::/3")
_SPECIAL_6: Final = tuple(
    ipaddress.ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)


def _kind(address: IPAddress) -> str:
    """`public`, `private` (loopback, RFC 1918, CGNAT, ULA) or `special` (everything else that is not the
    Internet).

    IPv6 is public only inside 2000::/3 less its special blocks: 6to4, Teredo, NAT64, IPv4-mapped and
    -compatible addresses hide an IPv4 destination, and all fall outside.
    """
    for network in _METADATA:
        if address in network:
            return "special"
    for network in _PRIVATE:
        if address in network:
            return "private"
    if address.version == 4:
        return "special" if any(address in network for network in _SPECIAL) else "public"
    if address not in _GLOBAL_UNICAST_6 or any(address in network for network in _SPECIAL_6):
        return "special"
    return "public"
