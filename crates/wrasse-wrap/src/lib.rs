//! The stdio shim that puts Wrasse between any host and its MCP servers, and its broker.
