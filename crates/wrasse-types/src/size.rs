//! Sizes as people write them: `512MiB`, `3GiB`, `10mb`. All units are powers of 1024.

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Says why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write a number and a unit (KiB, MiB, GiB, TiB), as in \"512MiB\"")]
pub struct SizeError(String);

impl ByteSize {
    /// Reads a size; a bare number is bytes.
    ///
    /// # Errors
    /// When the number or the unit is not understood, or the product does not fit.
    pub fn parse(text: &str) -> Result<Self, SizeError> {
        let fail = || SizeError(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let number: u64 = trimmed[..digits].parse().map_err(|_| fail())?;
        let shift = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(fail()),
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(fail)
    }
}

impl std::fmt::Display for ByteSize {
    /// Writes whole MiB below 1 GiB and two decimals of GiB above, as `ps` does.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        match self.0 {
            bytes if bytes >= GIB => {
                let hundredths = u128::from(bytes) * 100 / u128::from(GIB);
                f.pad(&format!("{}.{:02} GiB", hundredths / 100, hundredths % 100))
            }
            bytes if bytes >= MIB => f.pad(&format!("{} MiB", bytes / MIB)),
            bytes => f.pad(&format!("{} KiB", bytes / 1024)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        assert_eq!(ByteSize::parse("512MiB"), Ok(ByteSize(512 << 20)));
        assert_eq!(ByteSize::parse("3 gb"), Ok(ByteSize(3 << 30)));
        assert!(ByteSize::parse("x").is_err());
        assert!(ByteSize::parse("99999999999 TiB").is_err());
        assert_eq!(ByteSize(78 << 20).to_string(), "78 MiB");
        assert_eq!(ByteSize((6 << 30) + (1 << 29)).to_string(), "6.50 GiB");
    }
}
