//! MCP servers as leased instances: catalogue, wire, launch.
