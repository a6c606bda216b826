"""What an agent sees and does: `list_scoped_tools` and `execute_tool`. The only place that orchestrates a call."""
