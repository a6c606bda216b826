"""The sandbox: runs a program that nobody trusts, in a fresh heap, within limits that always hold.

Promises. A program sees ECMAScript and what the prelude gives it: no file, no socket, no environment, no clock finer
than 1 ms, nothing of any other run. Its only way out is a host call, which the caller of `Sandbox.run` answers.
Whatever it does, `run` ends within its limits and says in words which limit was met. Credentials never enter.

Three walls stand around it: WebAssembly (QuickJS-ng compiled to it, run by wasmtime), a worker process without rights
(rlimits, no_new_privs, Landlock, seccomp), and a pool that believes nothing a worker says (`frames`, `process`).

| module | holds |
|---|---|
| `errors`, `limits`, `program` | what is refused, how much is allowed, what goes in and comes out |
| `engine`, `calling`, `binary` | the guest: its WebAssembly binary, and how it is called |
| `shape`, `wasm`, `functions`, `inline`, `seek` | how that binary is fitted, and its slowest parts made faster |
| `typescript` | a program's types, taken out where it is no JavaScript |
| `machine_code` | the modules compiled, in a file |
| `build`, `building`, `images` | images (a guest's memory), made in a subprocess once and kept in a private folder |
| `hardening` | what a worker gives up before it runs anything |
| `frames` | what the pool and a worker say to each other |
| `worker`, `execution`, `watchdog` | a worker process |
| `process`, `conversation`, `scheduling`, `priority`, `pool` | the asyncio side |

Import from the modules; this file imports nothing, for each worker process loads it.
"""
