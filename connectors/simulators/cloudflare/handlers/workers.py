"""Worker scripts: uploaded, listed, downloaded, deleted, never run. Codes 10007 [I], others [memory]."""

import re
from typing import Any

import orjson

from connectors.simulators.cloudflare import answers
from connectors.simulators.cloudflare.answers import Answer, ok
from connectors.simulators.cloudflare.model import Script
from connectors.simulators.cloudflare.multipart import Part, parse
from connectors.simulators.cloudflare.routing import Call
from connectors.simulators.cloudflare.state import etag

_NAME = re.compile(r"[a-z0-9_][a-z0-9-_]{0,62}\Z")
MAX_SCRIPTS = 500


def list_scripts(call: Call) -> Answer:
    """All scripts of an account, without paging."""
    return ok([script.wire() for script in call.account.scripts.values()])


def _script(call: Call) -> Script:
    script = call.account.scripts.get(call.params["script_name"])
    if script is None:
        raise answers.fail(404, 10007, "This Worker does not exist on your account.")
    return script


def download_script(call: Call) -> Answer:
    """The main module's bytes as they were uploaded."""
    script = _script(call)
    tag = (b"etag", f'"{script.etag}"'.encode())
    return Answer(script.content, media_type=script.media_type.encode("latin-1"), headers=(tag,))


def delete_script(call: Call) -> Answer:
    """Remove a script."""
    script = _script(call)
    del call.account.scripts[script.id]
    return ok(None)


def upload_script(call: Call) -> Answer:
    """Store a script: multipart with `metadata` and modules, or plain JavaScript of the old syntax."""
    name = call.params["script_name"]
    if not _NAME.match(name):
        raise answers.fail(400, 10016, "Invalid Worker name")
    account = call.account
    if name not in account.scripts and len(account.scripts) >= MAX_SCRIPTS:
        raise answers.fail(403, 10037, "You have exceeded the limit of Workers on your account")
    if call.content_type.split(";")[0].strip() in {"application/javascript", "text/javascript"}:
        main = Part(name, name, "application/javascript", call.body)
        metadata: dict[str, Any] = {"body_part": name}
        modules: tuple[str, ...] = (name,)
    else:
        metadata, main, modules = _read_multipart(call)
    now = call.state.wall()
    before = account.scripts.get(name)
    script = Script(
        id=name,
        content=main.body,
        media_type=main.media_type,
        etag=etag(main.body),
        metadata=metadata,
        modules=modules,
        created=before.created if before else now,
        modified=now,
    )
    account.scripts[name] = script
    return ok({**script.wire(), "startup_time_ms": 3, "has_modules": "main_module" in metadata})


def _read_multipart(call: Call) -> tuple[dict[str, Any], Part, tuple[str, ...]]:
    """Metadata, main module and the names of all modules. Raises ApiError (10021) for what doesn't fit."""
    try:
        parts = parse(call.content_type, call.body)
    except ValueError as problem:
        raise answers.fail(400, 10021, f"Invalid multipart upload: {problem}") from None
    described = next((part for part in parts if part.name == "metadata"), None)
    if described is None:
        raise answers.fail(400, 10021, "The metadata part is missing")
    try:
        metadata = orjson.loads(described.body)
    except orjson.JSONDecodeError:
        raise answers.fail(400, 10021, "The metadata part is not JSON") from None
    if not isinstance(metadata, dict):
        raise answers.fail(400, 10021, "The metadata part is not an object")
    modules = {part.filename or part.name: part for part in parts if part is not described}
    by_field = {part.name: part for part in parts if part is not described}
    wanted = metadata.get("main_module") or metadata.get("body_part")
    main = modules.get(str(wanted)) or by_field.get(str(wanted))
    if main is None:
        raise answers.fail(400, 10021, f'No such module "{wanted}"')
    return metadata, main, tuple(modules)
