"""Code Mode: programs written by a model, run in a sandbox, whose every request passes the gate.

`sandbox/` runs a program and knows nothing of Cloudflare; `guest/` is the JavaScript a program sees; `spec/` makes an
API description fit for programs; the modules here join them to callers, policy and audit. This file imports nothing:
the sandbox's processes load it too, and must stay small.
"""
