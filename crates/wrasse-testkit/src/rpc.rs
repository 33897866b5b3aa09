//! The shortest client of `POST /rpc/<method>`: no code of the program under test, no process per question.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A way to one gateway.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// Where it listens.
    pub port: u16,
    /// What it asks for.
    pub token: String,
}

impl Rpc {
    /// Calls a method.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn call(&self, method: &str, params: &Value, limit: Duration) -> Result<Value, String> {
        let body = params.to_string();
        let request = format!(
            "POST /rpc/{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.token,
            body.len(),
        );
        let (status, body) =
            self.exchange(&request, limit).map_err(|e| format!("{method}: {e}"))?;
        if status == 200 {
            serde_json::from_str(&body).map_err(|error| format!("{method}: {error}: {body}"))
        } else {
            Err(format!("{method}: HTTP {status}: {body}"))
        }
    }

    /// Whether the gateway says that it is ready.
    pub fn ready(&self) -> bool {
        let request = "GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        self.exchange(request, Duration::from_secs(5)).is_ok_and(|(status, _)| status == 200)
    }

    fn exchange(&self, request: &str, limit: Duration) -> std::io::Result<(u16, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }
}
