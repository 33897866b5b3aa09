//! Quoted texts, bare keys and numbers.

use super::scan::{Scanner, SyntaxFault, is_line_end};
use super::tree::{Place, Value};

fn fault(place: Place, message: impl Into<String>) -> SyntaxFault {
    SyntaxFault { place, message: message.into(), suggestion: None }
}

/// Reads a quoted text; the scanner stands on the quote. A text that is not closed ends at the end of its line, so
/// that what follows can be looked at too.
pub(super) fn quoted(scan: &mut Scanner) -> Result<String, SyntaxFault> {
    let place = scan.place();
    let quote = scan.next();
    let mut text = String::new();
    let mut bad_escape = None;
    loop {
        match scan.peek() {
            Some(c) if Some(c) == quote => {
                scan.next();
                return bad_escape.map_or(Ok(text), Err);
            }
            // U+2028 and U+2029 may stand in a text of JSON5.
            None | Some('\n' | '\r') => {
                return Err(SyntaxFault {
                    place,
                    message: "this text is not closed on its line".to_owned(),
                    suggestion: quote.map(|quote| format!("end it with {quote}")),
                });
            }
            Some('\\') => match escape(scan) {
                Ok(Some(c)) => text.push(c),
                Ok(None) => {}
                Err(fault) => bad_escape = bad_escape.or(Some(fault)),
            },
            Some(c) => {
                text.push(c);
                scan.next();
            }
        }
    }
}

/// Reads an escape; a line continuation gives no character.
fn escape(scan: &mut Scanner) -> Result<Option<char>, SyntaxFault> {
    let place = scan.place();
    scan.next();
    let Some(c) = scan.peek() else { return Err(fault(place, "nothing follows this backslash")) };
    if c.is_ascii_digit() && c != '0' {
        scan.next();
        return Err(fault(place, format!("\\{c} is not an escape")));
    }
    scan.next();
    Ok(Some(match c {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '0' => '\0',
        'x' => char::from_u32(hex(scan, 2, place)?).unwrap_or(char::REPLACEMENT_CHARACTER),
        'u' => unicode(scan, place)?,
        '\r' => {
            scan.eat('\n');
            return Ok(None);
        }
        c if is_line_end(c) => return Ok(None),
        c => c,
    }))
}

fn unicode(scan: &mut Scanner, place: Place) -> Result<char, SyntaxFault> {
    let high = hex(scan, 4, place)?;
    if !(0xd800..0xdc00).contains(&high) {
        return Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    if scan.peek() != Some('\\') || scan.peek_second() != Some('u') {
        return Ok(char::REPLACEMENT_CHARACTER);
    }
    scan.next();
    scan.next();
    let low = hex(scan, 4, place)?;
    let pair = low
        .checked_sub(0xdc00)
        .filter(|low| *low < 0x400)
        .and_then(|low| char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low));
    Ok(pair.unwrap_or(char::REPLACEMENT_CHARACTER))
}

fn hex(scan: &mut Scanner, digits: usize, place: Place) -> Result<u32, SyntaxFault> {
    let mut value = 0;
    for _ in 0..digits {
        let digit = scan.peek().and_then(|c| c.to_digit(16));
        let Some(digit) = digit else {
            return Err(fault(place, format!("this escape needs {digits} hexadecimal digits")));
        };
        scan.next();
        value = value * 16 + digit;
    }
    Ok(value)
}

/// Whether a bare key or word may begin with this.
pub(super) fn begins_word(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$' || c == '\\'
}

/// Reads a bare key: an identifier, more generously also one with dashes, which only this reader then explains.
pub(super) fn bare_key(scan: &mut Scanner) -> Result<String, SyntaxFault> {
    let place = scan.place();
    let mut text = String::new();
    while let Some(c) = scan.peek() {
        if c == '\\' {
            scan.next();
            if !scan.eat('u') {
                return Err(fault(place, "a bare key may only hold \\uXXXX escapes"));
            }
            text.push(unicode(scan, place)?);
        } else if c.is_alphanumeric() || matches!(c, '_' | '$' | '\u{200c}' | '\u{200d}') {
            text.push(c);
            scan.next();
        } else {
            break;
        }
    }
    Ok(text)
}

/// Reads a number or one of the words `true`, `false`, `null`, `Infinity`, `NaN`.
pub(super) fn word_or_number(scan: &mut Scanner) -> Result<Value, SyntaxFault> {
    let place = scan.place();
    let text =
        scan.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '+' | '-' | '.' | '\\'));
    match text.as_str() {
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        "null" => return Ok(Value::Null),
        _ => {}
    }
    number(&text).ok_or_else(|| {
        if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            fault(place, format!("{text:?} is not a number"))
        } else {
            SyntaxFault {
                place,
                message: format!("{text:?} is not a value"),
                suggestion: Some(match text.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" => "did you mean true?".to_owned(),
                    "false" | "no" | "off" => "did you mean false?".to_owned(),
                    "none" | "nil" | "undefined" => "did you mean null?".to_owned(),
                    _ => format!("write text in quotes: {text:?}"),
                }),
            }
        }
    })
}

fn number(text: &str) -> Option<Value> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = |value: f64| Value::Float(if negative { -value } else { value });
    match digits {
        "Infinity" => return Some(signed(f64::INFINITY)),
        "NaN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let value = i64::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with(['+', '-']))?;
        return Some(Value::Int(if negative { -value } else { value }));
    }
    let decimal = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || "eE+-.".contains(c))
        && digits.contains(|c: char| c.is_ascii_digit());
    let leading_zero = digits.len() > 1
        && digits.starts_with('0')
        && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if !decimal || leading_zero {
        return None;
    }
    if let Ok(value) = digits.parse::<i64>() {
        return Some(Value::Int(if negative { -value } else { value }));
    }
    digits.parse::<f64>().ok().map(signed)
}
