"""The child process that compiles a description: reads it on stdin, answers on stdout, holds nothing else.

It answers one byte, `K` and the artifact or `E` and a sentence; anything else means that it died. It limits
its own address space and processor time before it reads a byte, so a hostile description can only end the
child.
"""

import resource
import sys

from connectors.errors import SpecError
from connectors.openapi.bounds import COMPILE_MEMORY, MAX_RAW
from connectors.openapi.compile import compile_spec


def main(cpu_seconds: int) -> None:
    """Compiles stdin to stdout. Never raises for what the description holds."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "darwin":  # which cannot lower it
        resource.setrlimit(resource.RLIMIT_AS, (COMPILE_MEMORY, COMPILE_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    raw = sys.stdin.buffer.read(MAX_RAW + 1)
    try:
        answer = b"K" + compile_spec(raw)
    except SpecError as error:
        answer = b"E" + str(error)[:500].encode("utf-8", "replace")
    except MemoryError:
        answer = b"Ethe description needs more memory than is allowed"
    except RecursionError:
        answer = b"Ethe description is nested too deeply"
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
