"""The MCP server: tools for assistants, which read what the console shows and, if allowed, act like an operator."""
