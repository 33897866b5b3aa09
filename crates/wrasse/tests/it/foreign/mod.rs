//! What other hosts left behind: fixture hosts under their names, with records as OpenClaw writes them, and the real
//! `wrasse reap --foreign` beside them. `--below` keeps every look within the station.

mod cases;
mod cast;
mod daemons;
mod database;
mod mixes;
mod store;
mod untouched;
