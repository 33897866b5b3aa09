//! Other hosts: their configuration files ([`import`]), their records and their server processes ([`foreign`]).

pub mod foreign;
pub mod import;
