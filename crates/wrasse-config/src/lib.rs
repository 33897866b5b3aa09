//! Configuration: text to every fault at once, or one validated value.
