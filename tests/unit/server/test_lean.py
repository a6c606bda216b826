"""What a start does not load."""

import importlib
import subprocess
import sys

import pytest

from broker.server.lean import absent

HEAVY = ("sqlalchemy", "alembic", "fastapi", "pydantic", "aiohttp", "rich", "prometheus_client", "uvicorn")


def test_an_absent_library_is_one_that_is_not_installed() -> None:
    with absent("this_is_not_there", "json"):
        with pytest.raises(ImportError):
            importlib.import_module("this_is_not_there")
        importlib.import_module("json")  # imported already: left alone
    assert "this_is_not_there" not in sys.modules
    assert sys.modules["json"] is not None


def test_the_parent_of_the_workers_loads_nothing_that_only_they_need() -> None:
    program = f"""
import sys
import broker.cli.serving
from broker.server.privileges import Beginning
from broker.server.lean import absent
assert "structlog" not in sys.modules and "asyncpg" not in sys.modules, "the zygote would start later"
with absent("rich"):
    from broker import logs
from broker.server.up import up
logs.configure(json=True, node="")
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
