"""The demo's world: account `acme`, two zones, and two engineers whose tokens differ.

Priya runs DNS: she may change records and purge the cache on every zone of acme. Marco looks after
example.org: he may read its records and zones, and nothing else.
"""

from dataclasses import dataclass

from connectors.simulators.cloudflare.handlers.dns import put_record
from connectors.simulators.cloudflare.model import Account, Token, User, Zone
from connectors.simulators.cloudflare.state import CloudflareState

PRIYA = (
    "Account Settings Read",
    "Analytics Read",
    "API Tokens Read",
    "Cache Purge",
    "DNS Write",
    "Memberships Read",
    "User Details Read",
    "Workers KV Storage Write",
    "Workers R2 Storage Write",
    "Workers Scripts Write",
    "Zone Read",
)
MARCO = ("API Tokens Read", "DNS Read", "User Details Read", "Zone Read")
PIPELINE = ("Account Settings Read", "DNS Read", "Workers Scripts Write", "Zone Read")


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's state and the names in it. `pipeline` is an account token, for CI."""

    state: CloudflareState
    account: Account
    priya: User
    marco: User
    com: Zone
    org: Zone
    priya_token: Token
    marco_token: Token
    pipeline: Token


def demo_state(state: CloudflareState | None = None) -> Demo:
    """The demo's world, in `state` or a new one."""
    made = state or CloudflareState()
    priya = made.add_user("priya.nair@acme.example")
    marco = made.add_user("marco.rossi@acme.example")
    account = made.add_account("acme", [priya, marco])
    com, org = made.add_zone(account, "example.com"), made.add_zone(account, "example.org")
    for zone, records in ((com, _COM), (org, _ORG)):
        for kind, name, content in records:
            put_record(made, zone, {"type": kind, "name": name, "content": content, "ttl": 300})
    made.add_bucket(account, "acme-assets")
    return Demo(
        state=made,
        account=account,
        priya=priya,
        marco=marco,
        com=com,
        org=org,
        priya_token=made.add_token(priya, name="priya's laptop", permissions=PRIYA),
        marco_token=made.add_token(marco, name="marco read only", permissions=MARCO, zones=[org]),
        pipeline=made.add_token(account, name="deploy pipeline", permissions=PIPELINE),
    )


_COM = (
    ("A", "example.com", "203.0.113.10"),
    ("A", "api.example.com", "203.0.113.11"),
    ("AAAA", "api.example.com", "2001:db8::11"),
    ("CNAME", "www.example.com", "example.com"),
    ("TXT", "example.com", "v=spf1 include:_spf.example.com ~all"),
)
_ORG = (
    ("A", "example.org", "203.0.113.20"),
    ("CNAME", "status.example.org", "example.org"),
    ("TXT", "_dmarc.example.org", "v=DMARC1; p=reject"),
)
