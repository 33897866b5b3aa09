//! Task scopes, closed task kinds, cancellation, deadlines and the clock.
