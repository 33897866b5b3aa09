//! Which requests a server can have seen.
//!
//! A call whose request was never begun to be written did nothing and may be made again elsewhere; any other
//! may have done something (failure mode J9). So a request counts as begun *before* its first byte is handed
//! to the kernel, since the server may act and die before we get to note anything, and whoever finds it not
//! begun revokes it in the same step, so that it cannot be written later.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rmcp::model::RequestId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Bytes of it may be out.
    Begun,
    /// Nobody waits for it any more: it must not go out.
    Revoked,
}

/// The requests whose fate is open.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<HashMap<RequestId, Standing>>);

impl Written {
    /// Asked right before each attempt to write the first byte; false when the request is revoked.
    pub(crate) fn begin(&self, id: &RequestId) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(id.clone()).or_insert(Standing::Begun) == Standing::Begun
    }

    /// The attempt wrote nothing.
    pub(crate) fn undo(&self, id: &RequestId) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(id) == Some(&Standing::Begun) {
            open.remove(id);
        }
    }

    /// Ends the interest in a request and says whether any of it may have been written. If not, it never
    /// will be.
    pub(crate) fn settle(&self, id: &RequestId) -> bool {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.remove(id) {
            Some(Standing::Begun) => true,
            Some(Standing::Revoked) | None => {
                open.insert(id.clone(), Standing::Revoked);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // failure mode J9
    #[test]
    fn what_was_not_begun_never_will_be() {
        let (written, id) = (Written::default(), RequestId::Number(1));
        assert!(!written.settle(&id));
        assert!(!written.begin(&id), "revoked");
        written.undo(&id);
        assert!(!written.begin(&id), "still revoked");
        assert!(!written.settle(&id));
    }

    #[test]
    fn what_was_begun_counts_unless_nothing_came_of_it() {
        let (written, id) = (Written::default(), RequestId::Number(1));
        assert!(written.begin(&id));
        written.undo(&id);
        assert!(!written.settle(&id));
        let id = RequestId::Number(2);
        assert!(written.begin(&id) && written.begin(&id));
        assert!(written.settle(&id));
    }
}
