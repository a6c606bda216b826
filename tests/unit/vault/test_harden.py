"""The process protections, in a process of their own."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, resource
from vault.harden import harden_process
harden_process(); harden_process()
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_no_core_and_not_dumpable() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "(0, 0) 0"
