//! Contained process trees: guardian protocol, stop ladder, sweep, accounting.
