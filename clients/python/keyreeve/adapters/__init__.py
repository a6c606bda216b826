"""Keyreeve's tools in the shapes of the frameworks that agents are written in, each a module of its own.

`anthropic` (Messages), `openai` (Responses), `langchain` (LangChain and LangGraph), `pydantic_ai`, `mcp` (any MCP
client). Nothing is imported until it is asked for: an adapter needs its framework, this package none.

They all promise the same. Tools and their results reach the model as JSON, with integers of any size exact. Every
call a model makes is answered, an error as an error. A call carries an idempotency key made of the run and the call's
id, so a step that is repeated does not run twice. What the model cannot mend and no further call can succeed without
(a session that was revoked, an identity that was disabled) is raised to the program; everything else is handed to the
model.

`toolbox` is what they share, and what a loop of your own is written with (`examples/agent_loop.py`).
"""
