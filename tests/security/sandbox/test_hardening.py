"""What a worker process cannot do any more, tried from inside one after it gave everything up."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from broker.tools.codemode.sandbox.images import Images
from tests.integration.sandbox.kit import kit

INSIDE = r"""
import ctypes, encodings.idna, json, mmap, os, signal, socket, subprocess, sys, threading
from broker.tools.codemode.sandbox.hardening import harden
libc = ctypes.CDLL(None, use_errno=True)
read_end, write_end = os.pipe()
already = os.open('/etc/hostname', os.O_RDONLY)
machine = os.uname().machine
done = harden(address_bytes=4 << 30, data_bytes=1 << 30)
tried = {}
def attempt(name, action):
    try:
        action()
        tried[name] = 'allowed'
    except BaseException as error:
        tried[name] = type(error).__name__
def call(number, *arguments):
    def action():
        if libc.syscall(number, *arguments) < 0:
            raise OSError(ctypes.get_errno(), 'refused')
    return action
attempt('open', lambda: open('/etc/passwd'))
attempt('create', lambda: open('/tmp/krv-sandbox-test', 'w'))
attempt('listdir', lambda: os.listdir('/'))
attempt('stat', lambda: os.stat('/etc/passwd'))
attempt('read of an open file', lambda: os.read(already, 1))
attempt('write to another pipe', lambda: os.write(write_end, b'x'))
attempt('socket', lambda: socket.socket())
attempt('unix socket', lambda: socket.socket(socket.AF_UNIX))
attempt('socketpair', lambda: socket.socketpair())
attempt('fork', os.fork)
attempt('exec', lambda: os.execv('/bin/true', ['/bin/true']))
attempt('spawn', lambda: subprocess.run(['/bin/true']))
attempt('thread', lambda: threading.Thread(target=int).start())
attempt('kill parent', lambda: os.kill(os.getppid(), 0))
attempt('executable memory', lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC))
attempt('dup', lambda: os.dup(0))
attempt('pipe', os.pipe)
attempt('chdir', lambda: os.chdir('/tmp'))
attempt('setuid', lambda: os.setuid(0))
if machine == 'x86_64':
    for name, number in dict(ptrace=101, process_vm_readv=310, io_uring_setup=425, bpf=321, keyctl=250, mount=165,
                             memfd_create=319, unshare=272, prctl=157, userfaultfd=323, open_by_handle_at=304,
                             shmget=29, sendmsg=46, perf_event_open=298).items():
        attempt(name, call(number, 0, 0, 0, 0, 0))
room = bytearray(50 << 20)
os.write(1, json.dumps({'done': done, 'tried': tried, 'computes': sum(range(1000))}).encode())
os._exit(0)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can lock a process in")


@pytest.fixture(scope="module")
def inside() -> Mapping[str, object]:
    ran = subprocess.run([sys.executable, "-I", "-c", INSIDE], capture_output=True, timeout=30, check=True)
    told: dict[str, object] = json.loads(ran.stdout)
    return told


def test_everything_was_given_up(inside: Mapping[str, object]) -> None:
    assert inside["done"] == ["rlimits", "no_new_privs", "landlock", "seccomp"]


def test_nothing_of_it_is_left(inside: Mapping[str, object]) -> None:
    tried = inside["tried"]
    assert isinstance(tried, dict)
    assert len(tried) >= 19
    assert {name: how for name, how in tried.items() if how == "allowed"} == {}


def test_it_still_computes(inside: Mapping[str, object]) -> None:
    assert inside["computes"] == 499500


async def test_a_worker_of_the_pool_is_locked_in(images: Images) -> None:
    async with kit(images, workers=1) as box:
        (pid,) = box.sandbox.stats().pids
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status
        limits = Path(f"/proc/{pid}/limits").read_text()
        for name in ("core file size", "file size", "processes"):
            assert re.search(rf"^Max {name} +0 +0 ", limits, re.MULTILINE)
        # Not dumpable: only root may even look at what else there is.
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert Path(f"/proc/{pid}/environ").read_bytes() == b""
