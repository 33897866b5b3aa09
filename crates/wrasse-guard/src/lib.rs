//! The guard program (warden and guardian), its walk-and-kill library and its protocol.
