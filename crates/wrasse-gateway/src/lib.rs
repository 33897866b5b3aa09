//! Sessions, runs, the agent loop, sub-agents, cron, policy and built-in tools.
