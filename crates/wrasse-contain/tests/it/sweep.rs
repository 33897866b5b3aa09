//! What is left when the gateway and its guardians die in one instant.

use std::process::Stdio;

use crate::support::{again, containment};

// guarantee G4, last line; guarantee G5; failure modes D11, J5, J6
#[tokio::test]
async fn leftovers_are_swept_and_bystanders_are_not() {
    let _shared = containment();
    let mut driver = again("sweep-driver", |command| {
        command.stdin(Stdio::null());
    });
    assert!(driver.wait().unwrap().success());
}
