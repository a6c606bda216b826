"""Sealed bytes open for exactly what they were sealed for, and nothing else."""

import dataclasses
import traceback
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.vault import reference
from tests.unit.vault.test_binding import GOOD, bindings
from vault.binding import Binding, BlobBinding, CredentialBinding, KeyPurpose
from vault.envelope import MAX_CREDENTIAL, OVERHEAD, kek_version_of, rewrap, seal, unseal
from vault.errors import InvalidRequest, SealedDoesNotOpen, TooLarge, UnknownFormat
from vault.kek import Kek

RAW = bytes(range(32))
PLAIN = b"canary-plain-91"


def kek_for(binding: Binding, version: int = 1, raw: bytes = RAW) -> Kek:
    return Kek(binding.tenant_id, binding.key_purpose, version, raw)


KEK = kek_for(GOOD)
SEALED = seal(KEK, GOOD, PLAIN)


@given(bindings, st.binary(max_size=2000), st.integers(1, 2**31 - 1))
def test_opens_what_it_sealed(binding: Binding, plaintext: bytes, version: int) -> None:
    kek = kek_for(binding, version)
    sealed = seal(kek, binding, plaintext)
    assert len(sealed) == len(plaintext) + OVERHEAD
    assert kek_version_of(sealed) == version
    assert unseal(kek, binding, sealed) == plaintext


def test_every_byte_flip_is_noticed() -> None:
    """Exhaustive: every bit of every byte of one envelope."""
    for position in range(len(SEALED)):
        for bit in range(8):
            edited = bytearray(SEALED)
            edited[position] ^= 1 << bit
            with pytest.raises(SealedDoesNotOpen):
                unseal(KEK, GOOD, bytes(edited))


def test_every_truncation_and_extension_is_noticed() -> None:
    for edited in [SEALED[:size] for size in range(len(SEALED))] + [SEALED + b"\0", b"\0" + SEALED, b""]:
        with pytest.raises(SealedDoesNotOpen):
            unseal(KEK, GOOD, edited)


@pytest.mark.parametrize(
    "change",
    [
        {"account_id": UUID(int=99)},
        {"credential_id": UUID(int=99)},
        {"version": 2},
        {"kind": "account_token"},
        {"origins": ("https://api.cloudflare.com",)},
        {"origins": (*GOOD.origins, "https://evil.example")},
        {"origins": ("https://evil.example",)},
    ],
)
def test_every_field_swapped_is_noticed(change: dict[str, object]) -> None:
    moved = dataclasses.replace(GOOD, **change)  # type: ignore[arg-type]
    with pytest.raises(SealedDoesNotOpen):
        unseal(KEK, moved, SEALED)
    with pytest.raises(SealedDoesNotOpen):
        rewrap(KEK, kek_for(GOOD, 2), moved, SEALED)


def test_another_tenant_with_the_same_key_bytes_does_not_open() -> None:
    moved = dataclasses.replace(GOOD, tenant_id=UUID(int=77))
    with pytest.raises(SealedDoesNotOpen):
        unseal(KEK, moved, SEALED)
    with pytest.raises(SealedDoesNotOpen):
        unseal(kek_for(moved), moved, SEALED)


def test_account_and_credential_ids_do_not_trade_places() -> None:
    swapped = dataclasses.replace(GOOD, account_id=GOOD.credential_id, credential_id=GOOD.account_id)
    with pytest.raises(SealedDoesNotOpen):
        unseal(KEK, swapped, SEALED)


@settings(max_examples=500)
@given(bindings, bindings, st.binary(max_size=64))
def test_no_other_binding_opens(sealed_for: Binding, opened_as: Binding, plaintext: bytes) -> None:
    if sealed_for == opened_as:
        return
    sealed = seal(kek_for(sealed_for), sealed_for, plaintext)
    with pytest.raises(SealedDoesNotOpen):
        unseal(kek_for(opened_as), opened_as, sealed)


@settings(max_examples=2000, deadline=None)
@given(st.data())
def test_no_edit_opens(data: st.DataObject) -> None:
    """Bytes overwritten, removed, inserted or spliced in from another envelope of the same binding and
    key.
    """
    other = seal(KEK, GOOD, PLAIN)
    start = data.draw(st.integers(0, len(SEALED)))
    end = data.draw(st.integers(start, len(SEALED)))
    between = data.draw(st.binary(max_size=40) | st.just(other[start:end]))
    edited = SEALED[:start] + between + SEALED[end:]
    if edited in (SEALED, other):
        return
    with pytest.raises(SealedDoesNotOpen):
        unseal(KEK, GOOD, edited)


def test_the_wrap_names_its_key_version() -> None:
    """The same key bytes as another version do not open: neither as they are nor with the header edited."""
    with pytest.raises(SealedDoesNotOpen):
        unseal(kek_for(GOOD, 2), GOOD, SEALED)
    edited = SEALED[:6] + (2).to_bytes(4, "big") + SEALED[10:]
    with pytest.raises(SealedDoesNotOpen):
        unseal(kek_for(GOOD, 2), GOOD, edited)


@pytest.mark.parametrize(("at", "value"), [(0, 0), (4, 0), (4, 2), (5, 0), (5, 2)])
def test_unknown_magic_format_and_algorithm(at: int, value: int) -> None:
    edited = SEALED[:at] + bytes([value]) + SEALED[at + 1 :]
    for use in (kek_version_of, lambda sealed: unseal(KEK, GOOD, sealed)):
        with pytest.raises(UnknownFormat):
            use(edited)


def test_kek_version_zero_is_no_version() -> None:
    with pytest.raises(UnknownFormat):
        kek_version_of(SEALED[:6] + bytes(4) + SEALED[10:])


def test_rewrap_keeps_the_payload_and_moves_the_key() -> None:
    new = kek_for(GOOD, 2, bytes(32))
    moved = rewrap(KEK, new, GOOD, SEALED)
    assert moved[70:] == SEALED[70:]
    assert moved[:70] != SEALED[:70]
    assert kek_version_of(moved) == 2
    assert unseal(new, GOOD, moved) == PLAIN
    with pytest.raises(SealedDoesNotOpen):
        unseal(KEK, GOOD, moved)


def test_never_the_same_bytes_twice() -> None:
    made = [seal(KEK, GOOD, PLAIN) for _ in range(200)]
    assert len({sealed[10:22] for sealed in made}) == 200
    assert len({sealed[70:82] for sealed in made}) == 200
    assert len({sealed[82:] for sealed in made}) == 200


def test_limits() -> None:
    assert unseal(KEK, GOOD, seal(KEK, GOOD, bytes(MAX_CREDENTIAL))) == bytes(MAX_CREDENTIAL)
    with pytest.raises(TooLarge):
        seal(KEK, GOOD, bytes(MAX_CREDENTIAL + 1))
    blob = BlobBinding(GOOD.tenant_id, "result", "1")
    assert unseal(kek_for(blob), blob, seal(kek_for(blob), blob, bytes(70_000), limit=70_000)) == bytes(70_000)


@pytest.mark.parametrize(("tenant", "purpose"), [(UUID(int=5), "credentials"), (GOOD.tenant_id, "evidence")])
def test_a_foreign_kek_neither_seals_nor_rewraps(tenant: UUID, purpose: KeyPurpose) -> None:
    foreign = Kek(tenant, purpose, 1, RAW)
    with pytest.raises(InvalidRequest):
        seal(foreign, GOOD, PLAIN)
    with pytest.raises(InvalidRequest):
        rewrap(KEK, foreign, GOOD, SEALED)
    with pytest.raises(SealedDoesNotOpen):
        unseal(foreign, GOOD, SEALED)


def test_errors_hold_no_material() -> None:
    problems: list[Exception] = []
    for kek, binding, sealed in (
        (KEK, GOOD, SEALED[:-1] + bytes([SEALED[-1] ^ 1])),
        (kek_for(GOOD, 1, bytes(32)), GOOD, SEALED),
        (KEK, dataclasses.replace(GOOD, version=5), SEALED),
    ):
        with pytest.raises(SealedDoesNotOpen) as caught:
            unseal(kek, binding, sealed)
        problems.append(caught.value)
    with pytest.raises(TooLarge) as too_large:
        seal(KEK, GOOD, PLAIN * 10_000)
    for problem in [*problems, too_large.value]:
        shown = traceback.TracebackException.from_exception(problem, capture_locals=True).stack[-1].locals
        assert PLAIN.decode() not in f"{problem}{problem!r}{shown}{problem.__cause__}"
        assert RAW.hex() not in f"{problem}{shown}"


def test_the_reference_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the randomness fixed the package's bytes are those of the format as written down, and no
    others.
    """
    binding = CredentialBinding(
        UUID(int=4), UUID(int=5), UUID(int=6), 9, "oauth", ("https://b.example", "https://a.example")
    )
    stream = [bytes([7]) * 32, bytes([8]) * 12, bytes([9]) * 12]
    vector = {
        "kek": RAW.hex(),
        "kek_version": 3,
        "dek": stream[0].hex(),
        "wrap_nonce": stream[1].hex(),
        "nonce": stream[2].hex(),
        "plaintext": PLAIN.hex(),
        "binding": {
            "tenant_id": str(binding.tenant_id),
            "account_id": str(binding.account_id),
            "credential_id": str(binding.credential_id),
            "version": 9,
            "kind": "oauth",
            "origins": ["https://a.example", "https://b.example"],
        },
    }
    monkeypatch.setattr("vault.envelope._random", lambda size: stream.pop(0))
    assert seal(kek_for(binding, 3), binding, PLAIN) == reference.sealed(vector)
    assert stream == []
