//! Rewriting the server entries of other hosts, and putting them back byte for byte.
