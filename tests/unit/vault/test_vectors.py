"""Frozen vectors: what an earlier release sealed opens in this one. And AES-GCM itself against Wycheproof.

`tests/vectors/vault/format1.json` was made once by `tests/unit/vault/reference.py`, not by the package. It is
never made again: a format that fails it is a new format.
"""

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.unit.vault import reference
from vault.binding import Binding, BlobBinding, CredentialBinding
from vault.envelope import rewrap, unseal
from vault.kek import Kek
from vault.keys import EnvRootKey

VECTORS = Path(__file__).parents[2] / "vectors"
FROZEN: dict[str, Any] = json.loads((VECTORS / "vault" / "format1.json").read_text())
WYCHEPROOF: dict[str, Any] = json.loads((VECTORS / "wycheproof" / "aes_gcm_test.json").read_text())


def _binding(fields: dict[str, Any]) -> Binding:
    tenant_id = UUID(fields["tenant_id"])
    if "purpose" in fields:
        return BlobBinding(tenant_id, fields["purpose"], fields["object_id"])
    return CredentialBinding(
        tenant_id,
        UUID(fields["account_id"]),
        UUID(fields["credential_id"]),
        fields["version"],
        fields["kind"],
        tuple(fields["origins"]),
    )


@pytest.mark.parametrize("vector", FROZEN["sealed"], ids=lambda vector: vector["name"])
def test_sealed_vectors_open(vector: dict[str, Any]) -> None:
    binding = _binding(vector["binding"])
    kek = Kek(binding.tenant_id, binding.key_purpose, vector["kek_version"], bytes.fromhex(vector["kek"]))
    sealed = bytes.fromhex(vector["sealed"])
    assert unseal(kek, binding, sealed) == bytes.fromhex(vector["plaintext"])
    assert reference.sealed(vector) == sealed
    newer = Kek(binding.tenant_id, binding.key_purpose, vector["kek_version"] + 1, bytes(32))
    assert unseal(newer, binding, rewrap(kek, newer, binding, sealed)) == bytes.fromhex(vector["plaintext"])


@pytest.mark.parametrize("vector", FROZEN["hmac"], ids=lambda vector: vector["name"])
def test_hmac_vectors(vector: dict[str, Any]) -> None:
    key, data = bytes.fromhex(vector["kek"]), bytes.fromhex(vector["data"])
    found = Kek(UUID(int=1), "evidence", 1, key).hmac(vector["use"], vector["purpose"], data)
    assert found.hex() == vector["digest"]
    assert reference.subkey_mac(key, vector["use"], vector["purpose"], data) == found


@pytest.mark.parametrize("vector", FROZEN["wrapped_kek"], ids=lambda vector: vector["name"])
async def test_wrapped_kek_vectors(vector: dict[str, Any]) -> None:
    root, nonce, key = (bytes.fromhex(vector[name]) for name in ("root", "nonce", "kek"))
    provider = EnvRootKey(f"{vector['root_id']}:{base64.b64encode(root).decode()}")
    blob = bytes.fromhex(vector["blob"])
    assert await provider.unwrap(vector["root_id"], blob, vector["context"]) == key
    assert reference.wrapped_kek(root, vector["root_id"], vector["context"], nonce, key) == blob


def test_wycheproof_aes_gcm() -> None:
    """Through `AESGCM` as the envelope uses it: 96-bit nonces, 128-bit tags, the tag behind the
    ciphertext.
    """
    ran = {"valid": 0, "invalid": 0}
    skipped = 0
    for group in WYCHEPROOF["testGroups"]:
        for test in group["tests"]:
            if group["ivSize"] != 96:
                skipped += 1
                continue
            key, iv, aad, msg, ct, tag = (
                bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            cipher = AESGCM(bytearray(key))
            into = bytearray(len(msg))
            if test["result"] == "valid":
                assert cipher.encrypt(iv, msg, aad) == ct + tag, test["tcId"]
                assert cipher.decrypt(iv, ct + tag, aad) == msg, test["tcId"]
                cipher.decrypt_into(iv, ct + tag, aad, into)
                assert into == msg, test["tcId"]
            else:
                with pytest.raises(InvalidTag):
                    cipher.decrypt(iv, ct + tag, aad)
                with pytest.raises(InvalidTag):
                    cipher.decrypt_into(iv, ct + tag, aad, bytearray(len(ct)))
            ran[test["result"]] += 1
    print(f"Wycheproof AES-GCM: {ran['valid']} valid, {ran['invalid']} invalid, {skipped} skipped (nonce size)")
    assert (ran, skipped) == ({"valid": 116, "invalid": 81}, 119)
    assert WYCHEPROOF["numberOfTests"] == 316
