//! The HTTP door: auth, health, and the method table.
