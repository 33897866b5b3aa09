//! Scopes and the clock, on a real runtime.

mod clock;
mod scope;
