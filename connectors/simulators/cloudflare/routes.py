"""Every operation the simulator answers, and the permission groups each needs.

Operation ids and groups are those of Cloudflare's published OpenAPI description, but for R2 objects (not
described there) and GraphQL (not an OpenAPI operation at all). Where the description's group name is out of
date ("Zone Zone Read"), `openapi.json` keeps it as published and the true one is enforced here.
"""

from connectors.simulators.cloudflare.handlers import accounts, dns, graphql, kv, r2, tokens, workers, zones
from connectors.simulators.cloudflare.product_routes import PRODUCT_ROUTES
from connectors.simulators.cloudflare.routing import Route, route

_ZONES = "/zones/{zone_id}"
_RECORDS = f"{_ZONES}/dns_records"
_ACCOUNT = "/accounts/{account_id}"
_KV = f"{_ACCOUNT}/storage/kv/namespaces"
_SPACE = f"{_KV}/{{namespace_id}}"
_R2 = f"{_ACCOUNT}/r2/buckets"
_OBJECTS = f"{_R2}/{{bucket_name}}/objects"
_SCRIPTS = f"{_ACCOUNT}/workers/scripts"

_READ_KV = ("Workers KV Storage Write", "Workers KV Storage Read")
_WRITE_KV = ("Workers KV Storage Write",)
_READ_R2 = ("Workers R2 Storage Write", "Workers R2 Storage Read")
_WRITE_R2 = ("Workers R2 Storage Write",)
_READ_ITEM = (*_READ_R2, "Workers R2 Storage Bucket Item Read", "Workers R2 Storage Bucket Item Write")
_WRITE_ITEM = (*_WRITE_R2, "Workers R2 Storage Bucket Item Write")
_READ_SCRIPTS = ("Workers Tail Read", "Workers Scripts Write", "Workers Scripts Read")
_WRITE_SCRIPTS = ("Workers Scripts Write",)
_READ_TOKENS = ("API Tokens Write", "API Tokens Read")
_READ_ACCOUNT_TOKENS = ("Account API Tokens Write", "Account API Tokens Read")

_USER: list[Route] = [
    route(
        "user-user-details",
        "GET /user",
        accounts.get_user,
        "user",
        "User Details Write",
        "User Details Read",
        lenient=True,
    ),
    route(
        "user'-s-account-memberships-list-memberships",
        "GET /memberships",
        accounts.list_memberships,
        "user",
        "Memberships Write",
        "Memberships Read",
        lenient=True,
    ),
    route("user-api-tokens-verify-token", "GET /user/tokens/verify", tokens.verify_user_token, "handler"),
    route(
        "permission-groups-list-permission-groups",
        "GET /user/tokens/permission_groups",
        tokens.list_groups,
        "user",
        *_READ_TOKENS,
        lenient=True,
    ),
    route(
        "user-api-tokens-list-tokens",
        "GET /user/tokens",
        tokens.list_tokens,
        "user",
        *_READ_TOKENS,
        lenient=True,
    ),
    route(
        "user-api-tokens-create-token",
        "POST /user/tokens",
        tokens.create_token,
        "user",
        "API Tokens Write",
        lenient=True,
    ),
    route(
        "user-api-tokens-token-details",
        "GET /user/tokens/{token_id}",
        tokens.get_token,
        "user",
        *_READ_TOKENS,
        lenient=True,
    ),
    route(
        "user-api-tokens-update-token",
        "PUT /user/tokens/{token_id}",
        tokens.update_token,
        "user",
        "API Tokens Write",
        lenient=True,
    ),
    route(
        "user-api-tokens-roll-token",
        "PUT /user/tokens/{token_id}/value",
        tokens.roll_token,
        "user",
        "API Tokens Write",
        lenient=True,
    ),
    route(
        "user-api-tokens-delete-token",
        "DELETE /user/tokens/{token_id}",
        tokens.delete_token,
        "user",
        "API Tokens Write",
        lenient=True,
    ),
]

_ACCOUNTS: list[Route] = [
    route("accounts-list-accounts", "GET /accounts", accounts.list_accounts, "handler"),
    route(
        "accounts-account-details",
        f"GET {_ACCOUNT}",
        accounts.get_account,
        "account",
        "Account Settings Read",
        "Account Settings Write",
    ),
    route(
        "account-members-list-members",
        f"GET {_ACCOUNT}/members",
        accounts.list_members,
        "account",
        "SCIM Provisioning",
        "Account Settings Write",
        "Account Settings Read",
    ),
    route(
        "account-members-add-member",
        f"POST {_ACCOUNT}/members",
        accounts.add_member,
        "account",
        "SCIM Provisioning",
        "Account Settings Write",
    ),
    route(
        "account-api-tokens-verify-token",
        f"GET {_ACCOUNT}/tokens/verify",
        tokens.verify_account_token,
        "handler",
    ),
    route(
        "account-api-tokens-list-permission-groups",
        f"GET {_ACCOUNT}/tokens/permission_groups",
        tokens.list_groups,
        "account",
        *_READ_ACCOUNT_TOKENS,
    ),
    route(
        "account-api-tokens-list-tokens",
        f"GET {_ACCOUNT}/tokens",
        tokens.list_tokens,
        "account",
        *_READ_ACCOUNT_TOKENS,
    ),
    route(
        "account-api-tokens-create-token",
        f"POST {_ACCOUNT}/tokens",
        tokens.create_token,
        "account",
        "Account API Tokens Write",
    ),
    route(
        "account-api-tokens-token-details",
        f"GET {_ACCOUNT}/tokens/{{token_id}}",
        tokens.get_token,
        "account",
        *_READ_ACCOUNT_TOKENS,
    ),
    route(
        "account-api-tokens-update-token",
        f"PUT {_ACCOUNT}/tokens/{{token_id}}",
        tokens.update_token,
        "account",
        "Account API Tokens Write",
    ),
    route(
        "account-api-tokens-roll-token",
        f"PUT {_ACCOUNT}/tokens/{{token_id}}/value",
        tokens.roll_token,
        "account",
        "Account API Tokens Write",
    ),
    route(
        "account-api-tokens-delete-token",
        f"DELETE {_ACCOUNT}/tokens/{{token_id}}",
        tokens.delete_token,
        "account",
        "Account API Tokens Write",
    ),
]

_DNS: list[Route] = [
    route("zones-get", "GET /zones", zones.list_zones, "handler", "Zone Read", "Zone Write"),
    route("zones-post", "POST /zones", zones.create_zone, "handler", "Zone Write"),
    route(
        "zones-0-get",
        f"GET {_ZONES}",
        zones.get_zone,
        "zone",
        "Zone Read",
        "Zone Write",
        "DNS Read",
        "DNS Write",
        lenient=True,
    ),
    route("zone-purge", f"POST {_ZONES}/purge_cache", zones.purge_cache, "zone", "Cache Purge"),
    route(
        "dns-records-for-a-zone-list-dns-records",
        f"GET {_RECORDS}",
        dns.list_records,
        "zone",
        "DNS Read",
        "DNS Write",
    ),
    route("dns-records-for-a-zone-create-dns-record", f"POST {_RECORDS}", dns.create_record, "zone", "DNS Write"),
    route(
        "dns-records-for-a-zone-dns-record-details",
        f"GET {_RECORDS}/{{dns_record_id}}",
        dns.get_record,
        "zone",
        "DNS Read",
        "DNS Write",
    ),
    route(
        "dns-records-for-a-zone-patch-dns-record",
        f"PATCH {_RECORDS}/{{dns_record_id}}",
        dns.patch_record,
        "zone",
        "DNS Write",
    ),
    route(
        "dns-records-for-a-zone-update-dns-record",
        f"PUT {_RECORDS}/{{dns_record_id}}",
        dns.update_record,
        "zone",
        "DNS Write",
    ),
    route(
        "dns-records-for-a-zone-delete-dns-record",
        f"DELETE {_RECORDS}/{{dns_record_id}}",
        dns.delete_record,
        "zone",
        "DNS Write",
    ),
]

_STORAGE: list[Route] = [
    route("workers-kv-namespace-list-namespaces", f"GET {_KV}", kv.list_namespaces, "account", *_READ_KV),
    route("workers-kv-namespace-create-a-namespace", f"POST {_KV}", kv.create_namespace, "account", *_WRITE_KV),
    route("workers-kv-namespace-get-a-namespace", f"GET {_SPACE}", kv.get_namespace, "account", *_READ_KV),
    route(
        "workers-kv-namespace-remove-a-namespace",
        f"DELETE {_SPACE}",
        kv.delete_namespace,
        "account",
        *_WRITE_KV,
    ),
    route(
        "workers-kv-namespace-list-a-namespace'-s-keys",
        f"GET {_SPACE}/keys",
        kv.list_keys,
        "account",
        *_READ_KV,
    ),
    route(
        "workers-kv-namespace-read-the-metadata-for-a-key",
        f"GET {_SPACE}/metadata/{{key_name}}",
        kv.get_metadata,
        "account",
        *_READ_KV,
    ),
    route(
        "workers-kv-namespace-read-key-value-pair",
        f"GET {_SPACE}/values/{{key_name}}",
        kv.get_value,
        "account",
        *_READ_KV,
    ),
    route(
        "workers-kv-namespace-write-key-value-pair-with-metadata",
        f"PUT {_SPACE}/values/{{key_name}}",
        kv.put_value,
        "account",
        *_WRITE_KV,
    ),
    route(
        "workers-kv-namespace-delete-key-value-pair",
        f"DELETE {_SPACE}/values/{{key_name}}",
        kv.delete_value,
        "account",
        *_WRITE_KV,
    ),
    route("r2-list-buckets", f"GET {_R2}", r2.list_buckets, "account", *_READ_R2),
    route("r2-create-bucket", f"POST {_R2}", r2.create_bucket, "account", *_WRITE_R2),
    route("r2-get-bucket", f"GET {_R2}/{{bucket_name}}", r2.get_bucket, "account", *_READ_R2),
    route("r2-delete-bucket", f"DELETE {_R2}/{{bucket_name}}", r2.delete_bucket, "account", *_WRITE_R2),
    route("r2-list-objects", f"GET {_OBJECTS}", r2.list_objects, "bucket", *_READ_ITEM),
    route("r2-get-object", f"GET {_OBJECTS}/{{object_key+}}", r2.get_object, "bucket", *_READ_ITEM),
    route("r2-put-object", f"PUT {_OBJECTS}/{{object_key+}}", r2.put_object, "bucket", *_WRITE_ITEM),
    route("r2-delete-object", f"DELETE {_OBJECTS}/{{object_key+}}", r2.delete_object, "bucket", *_WRITE_ITEM),
]

_WORKERS: list[Route] = [
    route("worker-script-list-workers", f"GET {_SCRIPTS}", workers.list_scripts, "account", *_READ_SCRIPTS),
    route(
        "worker-script-download-worker",
        f"GET {_SCRIPTS}/{{script_name}}",
        workers.download_script,
        "account",
        *_READ_SCRIPTS,
    ),
    route(
        "worker-script-upload-worker-module",
        f"PUT {_SCRIPTS}/{{script_name}}",
        workers.upload_script,
        "account",
        *_WRITE_SCRIPTS,
    ),
    route(
        "worker-script-delete-worker",
        f"DELETE {_SCRIPTS}/{{script_name}}",
        workers.delete_script,
        "account",
        *_WRITE_SCRIPTS,
    ),
]

GRAPHQL = route("graphql", "POST /graphql", graphql.analytics, "handler", meter="graphql")

ROUTES: tuple[Route, ...] = (*_USER, *_ACCOUNTS, *_DNS, *_STORAGE, *_WORKERS, *PRODUCT_ROUTES, GRAPHQL)
