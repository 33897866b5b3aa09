//! The number of an installation: what its processes carry, so that a sweep knows its own.
//!
//! The file holds its own device and inode. A copy of the state directory has another inode, so it is another
//! installation and never ends what the original started.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Written {
    number: u16,
    device: u64,
    inode: u64,
}

/// Reads the number, or makes one when there is none or the file is a copy.
pub(crate) fn read_or_make(path: &Path) -> std::io::Result<u16> {
    if let Some(number) = read(path)? {
        return Ok(number);
    }
    let number = random_number();
    // The inode is known only once the file exists, and a rename keeps it.
    let fresh = crate::token::write_beside(path, b"")?;
    let written = std::fs::metadata(&fresh).and_then(|metadata| {
        let own = Written { number, device: metadata.dev(), inode: metadata.ino() };
        std::fs::write(&fresh, serde_json::to_vec(&own)?)?;
        std::fs::File::open(&fresh)?.sync_all()?;
        std::fs::rename(&fresh, path)
    });
    if let Err(error) = written {
        drop(std::fs::remove_file(&fresh));
        return Err(error);
    }
    Ok(number)
}

fn read(path: &Path) -> std::io::Result<Option<u16>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = std::fs::metadata(path)?;
    let Ok(written) = serde_json::from_slice::<Written>(&text) else {
        tracing::warn!(path = %path.display(), "the installation file cannot be read; this is a new installation");
        return Ok(None);
    };
    let same = written.device == metadata.dev() && written.inode == metadata.ino();
    Ok(same.then_some(written.number))
}

/// Any number but the two that a mark without an installation could hold by accident.
fn random_number() -> u16 {
    let random = crate::token::random();
    let mut numbers = random.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    numbers.find(|number| *number != 0 && *number != u16::MAX).unwrap_or(1)
}
