//! Random secrets, and the token file.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// 256 random bits.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // A weak secret would be worse than none, and Linux ≥ 5.4 always has a source.
        panic!("the kernel gives no random bytes: {error}");
    }
    bytes
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 0xf), 16).unwrap_or('0'));
        text
    })
}

pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit =
            |at: usize| char::from(pair[at]).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(bytes)
}

/// Reads the token, or makes one: readable by the owner only, and never seen half written.
pub(crate) fn read_or_make(path: &Path) -> std::io::Result<String> {
    loop {
        match std::fs::read_to_string(path) {
            Ok(text) if !text.trim().is_empty() => {
                close_to_others(path)?;
                return Ok(text.trim().to_owned());
            }
            Ok(_) => std::fs::remove_file(path)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let fresh = write_beside(path, format!("{}\n", to_hex(&random())).as_bytes())?;
        // A link fails where a rename would replace, so of two first users one wins and both read the same token.
        let linked = std::fs::hard_link(&fresh, path);
        match linked {
            Ok(()) => std::fs::remove_file(&fresh)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&fresh)?;
            }
            // A file system without links.
            Err(_) => std::fs::rename(&fresh, path)?,
        }
    }
}

fn close_to_others(path: &Path) -> std::io::Result<()> {
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the token file was open to others; it is closed now");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Writes a private file under a temporary name beside `path`, to be linked or renamed into place.
pub(crate) fn write_beside(path: &Path, content: &[u8]) -> std::io::Result<std::path::PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{}", std::process::id(), &to_hex(&random())[..8]));
    let fresh = std::path::PathBuf::from(name);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if let Err(error) = written {
        drop(std::fs::remove_file(&fresh));
        return Err(error);
    }
    Ok(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back() {
        let bytes = random();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("zz"), None);
        assert_eq!(from_hex(&"g".repeat(64)), None);
    }
}
