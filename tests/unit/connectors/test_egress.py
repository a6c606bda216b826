"""The egress rule, spelling by spelling."""
# ruff: noqa: E501

from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.egress import EgressPolicy, check_address, check_origin, check_target
from connectors.errors import EgressRefused

CLOSED = EgressPolicy()
OPEN = EgressPolicy.parse(["127.0.0.1:8080", "sim.internal:9000", "[::1]:8080", "169.254.169.254:80"])

GOOD_ORIGINS = [
    ("https://api.cloudflare.com", "https://api.cloudflare.com"),
    ("https://api.cloudflare.com/", "https://api.cloudflare.com"),
    ("HTTPS://API.Cloudflare.COM", "https://api.cloudflare.com"),
    ("https://api.cloudflare.com:443", "https://api.cloudflare.com"),
    ("https://api.cloudflare.com.", "https://api.cloudflare.com"),
    ("https://bücher.example", "https://xn--bcher-kva.example"),
    ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://１.example.com", "https://1.example.com"),
    ("https://1.1.1.1", "https://1.1.1.1"),
    ("https://[2606:4700:4700::1111]", "https://[2606:4700:4700::1111]"),
    ("https://[2606:4700:4700:0:0:0:0:1111]:443", "https://[2606:4700:4700::1111]"),
]

BAD_ORIGINS = [
    # schemes
    "http://api.cloudflare.com", "ftp://api.cloudflare.com", "//api.cloudflare.com", "api.cloudflare.com", "",
    "file:///etc/passwd", "gopher://api.cloudflare.com", "javascript:alert(1)", "https:api.cloudflare.com",
    "https:/api.cloudflare.com", "https:///api.cloudflare.com", " https://api.cloudflare.com", "data:,x",
    "https;//api.cloudflare.com", "httpS ://api.cloudflare.com", "unix:///run/docker.sock",
    # authority tricks
    "https://user@api.cloudflare.com", "https://user:pw@api.cloudflare.com", "https://@api.cloudflare.com",
    "https://api.cloudflare.com@evil.example", "https://api.cloudflare.com\\@evil.example",
    "https://api.cloudflare.com\\.evil.example", "https://evil.example#api.cloudflare.com",
    "https://api.cloudflare.com?x", "https://api.cloudflare.com/client", "https://api.cloudflare.com//",
    "https://api.cloudflare.com#", "https://api.cloudflare.com%2eevil.example", "https://api.cloudflare.com%00",
    "https://api cloudflare.com", "https://api.cloudflare.com\t", "https://api.cloudflare.com\r\nHost: x",
    "https://api.cloudflare.com\n", "https://api.cloudflare.com\x00", "https://api..cloudflare.com",
    "https://.cloudflare.com", "https://api.cloudflare.com..", "https://-.com", "https://a-.com/",
    "https://" + "a" * 64 + ".com", "https://" + "a." * 150 + "com", "https://exa_mple!.com", "https://*.cloudflare.com",
    "https://api.cloudflare.com,evil.example", "https://api.cloudflare.com;evil.example", "https://$host",
    # ports
    "https://api.cloudflare.com:80", "https://api.cloudflare.com:8443", "https://api.cloudflare.com:0",
    "https://api.cloudflare.com:65536", "https://api.cloudflare.com:-1", "https://api.cloudflare.com:",
    "https://api.cloudflare.com:443:443", "https://api.cloudflare.com:４４３", "https://api.cloudflare.com:+443",
    "https://api.cloudflare.com:22", "https://api.cloudflare.com:0x1bb", "https://1.1.1.1:8443",
    # loopback, every spelling
    "https://127.0.0.1", "https://127.1", "https://127.0.1", "https://2130706433", "https://0x7f000001",
    "https://0x7f.0.0.1", "https://0177.0.0.1", "https://017700000001", "https://127.0.0.1.", "https://127.255.255.254",
    "https://0", "https://0.0.0.0", "https://00.0.0.0", "https://127.0.0.01", "https://0x7f.1", "https://127.000.000.001",
    "https://localhost", "https://LOCALHOST", "https://localhost.", "https://foo.localhost", "https://１２７.0.0.1",
    "https://127。0。0。1", "https://①②⑦.0.0.1", "https://[::1]", "https://[0:0:0:0:0:0:0:1]",
    "https://[::ffff:127.0.0.1]", "https://[::ffff:7f00:1]", "https://[::]", "https://[::127.0.0.1]",
    "https://[::7f00:1]", "https://::1", "https://[::1", "https://::1]", "https://[]", "https://[1]", "https://[127.0.0.1]",
    "https://[::1%25lo]", "https://[::1%lo]", "https://[fe80::1%25eth0]", "https://[v1.x]",
    # private, link-local, metadata, shared, documentation, benchmarking, multicast, reserved
    "https://10.0.0.1", "https://10.255.255.255", "https://172.16.0.1", "https://172.31.255.255", "https://192.168.1.1",
    "https://100.64.0.1", "https://100.127.255.255", "https://169.254.169.254", "https://0xa9fea9fe", "https://2852039166",
    "https://169.254.43518", "https://0251.0376.0251.0376", "https://[fd00:ec2::254]", "https://[fe80::1]",
    "https://[fc00::1]", "https://[fdff::1]", "https://[ff02::1]", "https://224.0.0.1", "https://239.255.255.250",
    "https://240.0.0.1", "https://255.255.255.255", "https://192.0.2.1", "https://198.51.100.7", "https://203.0.113.9",
    "https://198.18.0.1", "https://192.0.0.192", "https://192.88.99.1", "https://0.1.2.3", "https://256.1.1.1",
    "https://1.1.1", "https://1.1.1.1.1", "https://100.100.100.200", "https://168.63.129.16",
    # addresses that hide another
    "https://[64:ff9b::7f00:1]", "https://[64:ff9b::a9fe:a9fe]", "https://[64:ff9b:1::7f00:1]", "https://[2002:7f00:1::]",
    "https://[2002:a9fe:a9fe::1]", "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "https://[2001:db8::1]",
    "https://[::ffff:10.0.0.1]", "https://[::ffff:a9fe:a9fe]", "https://[::ffff:0:127.0.0.1]", "https://[100::1]",
    "https://[3fff::1]", "https://[5f00::1]", "https://[2001:20::1]", "https://[fec0::1]",
    # names of the inside
    "https://metadata", "https://kubernetes.default.svc.local", "https://metadata.google.internal", "https://router.lan",
    "https://printer.local", "https://db.corp", "https://nas.home.arpa", "https://intranet",
]  # fmt: skip


@pytest.mark.parametrize(("text", "canonical"), GOOD_ORIGINS)
def test_public_https_origins_become_canonical(text: str, canonical: str) -> None:
    assert str(check_origin(text, policy=CLOSED)) == canonical


@pytest.mark.parametrize("text", BAD_ORIGINS)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(EgressRefused) as refused:
        check_origin(text, policy=CLOSED)
    assert refused.value.rule
    assert refused.value.reason.endswith(".")


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len(BAD_ORIGINS) == len(set(BAD_ORIGINS)) >= 100


@pytest.mark.parametrize(
    "text",
    ["http://127.0.0.1:8080", "https://127.0.0.1:8080", "http://sim.internal:9000", "http://[::1]:8080"],
)
def test_a_listed_host_and_port_opens_plain_http_and_private_addresses(text: str) -> None:
    assert str(check_origin(text, policy=OPEN)) == text


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8081",
        "http://127.0.0.1",
        "http://[::1]:80",
        "http://sim.internal",
        "http://127.1:8080",
    ],
)
def test_a_listed_host_opens_only_its_own_port_and_spelling(text: str) -> None:
    with pytest.raises(EgressRefused):
        check_origin(text, policy=OPEN)


@pytest.mark.parametrize("entry", ["127.0.0.1", "a b:1", "x:y", "127.1:80", "[::1]", "u@h:1", ":80", "h:0", "h:99999"])
def test_a_malformed_allow_entry_is_refused(entry: str) -> None:
    with pytest.raises(EgressRefused):
        EgressPolicy.parse([entry])


@pytest.mark.parametrize("address", ["104.16.132.229", "2606:4700::6810:84e5", "8.8.8.8"])
def test_public_addresses_pass(address: str) -> None:
    check_address(address, "api.cloudflare.com", 443, policy=CLOSED)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0", "fe80::1%2",
     "fd00:ec2::254", "224.0.0.1", "255.255.255.255", "100.64.0.1", "2002:7f00:1::", "nonsense", "", "::"],
)  # fmt: skip
def test_a_name_that_resolves_inward_is_refused(address: str) -> None:
    with pytest.raises(EgressRefused):
        check_address(address, "rebind.example", 443, policy=CLOSED)


def test_a_listed_name_reaches_private_networks_but_never_metadata() -> None:
    check_address("10.0.0.7", "sim.internal", 9000, policy=OPEN, scheme="http")
    check_address("127.0.0.1", "sim.internal", 9000, policy=OPEN, scheme="http")
    for address in ("169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "2002:7f00:1::"):
        with pytest.raises(EgressRefused):
            check_address(address, "sim.internal", 9000, policy=OPEN, scheme="http")
    check_address("169.254.169.254", "169.254.169.254", 80, policy=OPEN, scheme="http")


def test_a_listed_name_still_sends_no_plain_http_to_the_internet() -> None:
    with pytest.raises(EgressRefused) as refused:
        check_address("8.8.8.8", "sim.internal", 9000, policy=OPEN, scheme="http")
    assert refused.value.rule == "plain_http"


GOOD_PATHS = [
    "/", "/client/v4/zones", "/a/", "/a.b/c..d", "/a/...", "/~x/-_", "/a%20b", "/%E2%82%AC", "/a%2Fb", "/a:b@c;d=1",
    "/values/100%25", "/dns_records:batch", "/objects/a%2Fb%2F%2Fc.png",
]  # fmt: skip
BAD_PATHS = [
    "", "a", "client/v4", "//x", "/a//b", "/a/../b", "/a/..", "/..", "/.", "/a/./b", "/%2e%2e/x", "/%2E%2e/x", "/.%2e/x",
    "/%2e/x", "/%252e%252e/x", "/%25252e%25252e/x", "/a%2f..%2fb", "/a%2F%2e%2e%2Fb", "/a%5c..%5cb", "/a\\b", "/a%5Cb",
    "/..;/x", "/..;a=b/x", "/%2e%2e;x/y", "/a?b", "/a#b", "/a b", "/a\r\nb", "/a\nb", "/a\x00b", "/a%00b", "/a%0d%0ab",
    "/a%0Ab", "/a%7f", "/é", "/a%", "/a%2", "/a%zz", "/a<b", '/a"b', "/a{b}", "/a|b", "/a^b", "/a`b", "/a[b]", "http://x/",
    "/%25252525252541", "/a%250d%250ab", "/" + "a" * 9000,
]  # fmt: skip


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_canonical_paths_pass(path: str) -> None:
    check_target(path)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(EgressRefused):
        check_target(path)


@pytest.mark.parametrize("query", ["a b", "a#b", "a\r\nb", "é=1", "a=%", "a=%zz", 'a="b"', "a\x00", "x" * 40_000])
def test_other_queries_are_refused(query: str) -> None:
    with pytest.raises(EgressRefused):
        check_target("/x", query)


def test_ordinary_queries_pass() -> None:
    check_target("/x", "a=1&b=%20c&d=e/f?g&name=*.example.com&order=-a")


@given(st.text(min_size=1, max_size=40))
def test_no_encoded_value_leaves_its_segment(value: str) -> None:
    """Whatever passes, decoded any number of times and split at any slash, never has a segment that climbs."""
    try:
        encoded = quote(value, safe="")
    except UnicodeEncodeError:
        return
    try:
        check_target(f"/zones/{encoded}/dns")
    except EgressRefused:
        return
    text = encoded
    for _ in range(6):
        assert not {".", ".."} & set(text.replace("\\", "/").split("/"))
        assert not any(ord(c) < 0x20 for c in text)
        text = unquote(text)


@given(st.text(max_size=60))
def test_arbitrary_origins_end_in_a_public_host_or_a_refusal(text: str) -> None:
    for candidate in (text, f"https://{text}"):
        try:
            origin = check_origin(candidate, policy=CLOSED)
        except EgressRefused:
            continue
        assert origin.scheme == "https"
        assert origin.port == 443
        assert origin.host.isascii()
        assert check_origin(str(origin), policy=CLOSED) == origin


@given(st.ip_addresses())
def test_no_address_passes_that_python_itself_does_not_call_global(address: object) -> None:
    try:
        check_address(str(address), "x.example", 443, policy=CLOSED)
    except EgressRefused:
        return
    assert getattr(address, "is_global")  # noqa: B009
