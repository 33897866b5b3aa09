//! The fingerprint of a server: a keyed hash over everything that decides what it is, secrets included.
//!
//! It is stored and shown, so it must not let anyone guess a secret: hence the key, which never leaves the
//! state directory. Two definitions with the same fingerprint are the same server.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use wrasse_config::Secret;

const BLOCK: usize = 64;
/// Hex digits that are kept: 128 bits.
const DIGITS: usize = 32;

/// Makes fingerprints with the key of one installation.
pub(crate) struct Fingerprints {
    key: [u8; BLOCK],
}

impl Fingerprints {
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut key = [0; BLOCK];
        let digest = Sha256::digest(secret);
        key[..digest.len()].copy_from_slice(&digest);
        Self { key }
    }

    /// The fingerprint of a server that is a program.
    pub(crate) fn of_stdio(
        &self,
        command: &str,
        args: &[String],
        env: &BTreeMap<String, Secret>,
        inherited: &BTreeMap<OsString, OsString>,
        cwd: &Path,
    ) -> String {
        let mut fields = Fields(Sha256::new_with_prefix(self.pad(0x36)));
        fields.add(b"stdio");
        fields.add(command.as_bytes());
        fields.list(args.iter().map(|arg| arg.as_bytes()));
        fields.list(
            env.iter().flat_map(|(name, value)| [name.as_bytes(), value.reveal().as_bytes()]),
        );
        let bytes = |text: &'_ OsString| -> Vec<u8> { OsStr::as_bytes(text).to_vec() };
        let inherited: Vec<Vec<u8>> =
            inherited.iter().flat_map(|(name, value)| [bytes(name), bytes(value)]).collect();
        fields.list(inherited.iter().map(Vec::as_slice));
        fields.add(cwd.as_os_str().as_bytes());
        self.finish(fields)
    }

    fn pad(&self, with: u8) -> [u8; BLOCK] {
        self.key.map(|byte| byte ^ with)
    }

    fn finish(&self, fields: Fields) -> String {
        let outer =
            Sha256::new_with_prefix(self.pad(0x5c)).chain_update(fields.0.finalize()).finalize();
        let mut hex: String = outer.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(DIGITS);
        hex
    }
}

/// Every field is preceded by its length, so that no two lists of fields have the same bytes.
struct Fields(Sha256);

impl Fields {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn list<'a>(&mut self, items: impl Iterator<Item = &'a [u8]>) {
        let items: Vec<&[u8]> = items.collect();
        self.0.update((items.len() as u64).to_le_bytes());
        for item in items {
            self.add(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_and_nothing_else() {
        let make = |secret: &str, command: &str, args: &[&str], env: &[(&str, &str)], cwd: &str| {
            let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
            let env = env.iter().map(|&(k, v)| (k.to_owned(), Secret::new(v))).collect();
            Fingerprints::new(secret.as_bytes()).of_stdio(
                command,
                &args,
                &env,
                &BTreeMap::new(),
                Path::new(cwd),
            )
        };
        let base = make("k", "npx", &["a", "b"], &[("X", "1")], "/w");
        assert_eq!(base, make("k", "npx", &["a", "b"], &[("X", "1")], "/w"));
        assert_eq!(base.len(), DIGITS);
        for other in [
            make("j", "npx", &["a", "b"], &[("X", "1")], "/w"),
            make("k", "npy", &["a", "b"], &[("X", "1")], "/w"),
            make("k", "npx", &["ab"], &[("X", "1")], "/w"),
            make("k", "npx", &["a", "b", "X", "1"], &[], "/w"),
            make("k", "npx", &["a", "b"], &[("X", "2")], "/w"),
            make("k", "npx", &["a", "b"], &[("X", "1")], "/v"),
        ] {
            assert_ne!(base, other);
        }
    }
}
