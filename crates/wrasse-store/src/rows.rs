//! Reading columns into the program's own types.

use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use wrasse_types::UnixMillis;

use crate::StoreError;

/// Typed access to the columns of a row.
pub(crate) trait Columns {
    fn text(&self, column: &str) -> Result<String, StoreError>;
    fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError>;
    fn integer(&self, column: &str) -> Result<i64, StoreError>;
    fn maybe_integer(&self, column: &str) -> Result<Option<i64>, StoreError>;

    fn number<T: TryFrom<i64>>(&self, column: &str) -> Result<T, StoreError> {
        let wide = self.integer(column)?;
        T::try_from(wide).map_err(|_| bad(column, format!("{wide} is out of range")))
    }

    fn maybe_number<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let Some(wide) = self.maybe_integer(column)? else { return Ok(None) };
        T::try_from(wide).map(Some).map_err(|_| bad(column, format!("{wide} is out of range")))
    }

    fn flag(&self, column: &str) -> Result<bool, StoreError> {
        Ok(self.integer(column)? != 0)
    }

    fn time(&self, column: &str) -> Result<UnixMillis, StoreError> {
        self.integer(column).map(UnixMillis::new)
    }

    fn maybe_time(&self, column: &str) -> Result<Option<UnixMillis>, StoreError> {
        Ok(self.maybe_integer(column)?.map(UnixMillis::new))
    }

    fn json(&self, column: &str) -> Result<Value, StoreError> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|error| bad(column, error.to_string()))
    }

    fn maybe_json(&self, column: &str) -> Result<Option<Value>, StoreError> {
        let Some(text) = self.maybe_text(column)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| bad(column, error.to_string()))
    }
}

impl Columns for SqliteRow {
    fn text(&self, column: &str) -> Result<String, StoreError> {
        self.try_get(column).map_err(|error| bad(column, error.to_string()))
    }

    fn maybe_text(&self, column: &str) -> Result<Option<String>, StoreError> {
        self.try_get(column).map_err(|error| bad(column, error.to_string()))
    }

    fn integer(&self, column: &str) -> Result<i64, StoreError> {
        self.try_get(column).map_err(|error| bad(column, error.to_string()))
    }

    fn maybe_integer(&self, column: &str) -> Result<Option<i64>, StoreError> {
        self.try_get(column).map_err(|error| bad(column, error.to_string()))
    }
}

/// A column that cannot be read.
pub(crate) fn bad(column: &str, why: impl Into<String>) -> StoreError {
    StoreError::BadRow { column: column.to_owned(), why: why.into() }
}

/// SQLite's integers are signed; what does not fit is kept as the largest.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A `LIMIT`: SQLite reads a negative one as none.
pub(crate) fn limit(limit: Option<u32>) -> i64 {
    limit.map_or(-1, i64::from)
}
