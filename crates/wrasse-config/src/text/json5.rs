//! The JSON5 parser: recursive descent with a depth limit, which goes on after a fault where it can.
//!
//! It never panics and always comes to an end: every loop takes a character or leaves. After a fault it looks for
//! the next `,` or closing bracket of the same level, so that one report names several mistakes; it stops at
//! [`FAULTS_MAX`], and at the first fault about the nesting itself, after which everything would be noise.

use std::collections::BTreeMap;
use std::ops::Range;

use super::scan::{Scanner, SyntaxFault};
use super::strings::{bare_key, begins_word, quoted, word_or_number};
use super::tree::{FileId, Member, Node, Place, Value};

const DEPTH_MAX: usize = 100;
const FAULTS_MAX: usize = 20;

/// What came of a text.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The tree, as far as it could be read.
    pub(crate) node: Node,
    /// What is wrong with the text.
    pub(crate) faults: Vec<SyntaxFault>,
    /// Keys that stand twice in one object: the later place and the key. The last wins.
    pub(crate) duplicates: Vec<(Place, String)>,
    /// The bytes of every value and key, by its place.
    pub(crate) extents: BTreeMap<Place, Range<usize>>,
}

/// Says that parsing must stop; the fault is already noted.
struct Stop;

struct Parser {
    scan: Scanner,
    faults: Vec<SyntaxFault>,
    duplicates: Vec<(Place, String)>,
    extents: BTreeMap<Place, Range<usize>>,
    depth: usize,
}

/// Parses a whole text.
pub(crate) fn parse(text: &str, file: FileId) -> Parsed {
    let scan = Scanner::new(text, file);
    let start = scan.place();
    let mut parser = Parser {
        scan,
        faults: Vec::new(),
        duplicates: Vec::new(),
        extents: BTreeMap::new(),
        depth: 0,
    };
    let node = parser.document().unwrap_or(Node { place: start, value: Value::Null });
    let Parser { faults, duplicates, extents, .. } = parser;
    Parsed { node, faults, duplicates, extents }
}

impl Parser {
    fn document(&mut self) -> Result<Node, Stop> {
        self.blank()?;
        if self.scan.peek().is_none() {
            return self.stop(self.scan.place(), "the file is empty", Some("write at least {}"));
        }
        let node = self.value()?;
        self.blank()?;
        match self.scan.peek() {
            None => Ok(node),
            Some(c) => {
                let place = self.scan.place();
                self.note(place, format!("expected the end of the file, found {c:?}"), None);
                Ok(node)
            }
        }
    }

    fn value(&mut self) -> Result<Node, Stop> {
        let place = self.scan.place();
        let start = self.scan.offset();
        let value = match self.scan.peek() {
            Some('{') => self.nested(place, Self::object)?,
            Some('[') => self.nested(place, Self::array)?,
            Some('"' | '\'') => self.or_null(quoted)?,
            Some(c) if begins_word(c) || c.is_ascii_digit() || "+-.".contains(c) => {
                match word_or_number(&mut self.scan) {
                    Ok(value) => value,
                    Err(fault) => {
                        self.keep(fault)?;
                        Value::Null
                    }
                }
            }
            Some(c) => {
                let (message, advice) = ("expected a value, found ", matches!(c, ',' | '}' | ']'));
                self.note(place, format!("{message}{c:?}"), None);
                if !advice {
                    self.skip_to_separator()?;
                }
                Value::Null
            }
            None => return self.stop(place, "expected a value, found the end of the file", None),
        };
        self.extents.insert(place, start..self.scan.offset());
        Ok(Node { place, value })
    }

    fn or_null(
        &mut self,
        read: fn(&mut Scanner) -> Result<String, SyntaxFault>,
    ) -> Result<Value, Stop> {
        match read(&mut self.scan) {
            Ok(text) => Ok(Value::Text(text)),
            Err(fault) => {
                self.keep(fault)?;
                Ok(Value::Null)
            }
        }
    }

    fn nested(
        &mut self,
        place: Place,
        read: fn(&mut Self, Place) -> Result<Value, Stop>,
    ) -> Result<Value, Stop> {
        if self.depth >= DEPTH_MAX {
            return self.stop(place, &format!("nested more than {DEPTH_MAX} deep"), None);
        }
        self.depth += 1;
        self.scan.next();
        let value = read(self, place);
        self.depth -= 1;
        value
    }

    fn object(&mut self, open: Place) -> Result<Value, Stop> {
        let mut members: Vec<Member> = Vec::new();
        loop {
            self.blank()?;
            match self.scan.peek() {
                Some('}') => {
                    self.scan.next();
                    return Ok(Value::Object(members));
                }
                None => return self.never_closed(open, '{'),
                Some(']') => return self.wrong_closer(open, '{', ']'),
                Some(_) => {}
            }
            if let Some(member) = self.member()? {
                if let Some(old) = members.iter().position(|old| old.key == member.key) {
                    self.duplicates.push((member.key_place, member.key.clone()));
                    members.remove(old);
                }
                members.push(member);
            }
            self.separator('}')?;
        }
    }

    fn member(&mut self) -> Result<Option<Member>, Stop> {
        let key_place = self.scan.place();
        let start = self.scan.offset();
        let key = match self.scan.peek() {
            Some('"' | '\'') => quoted(&mut self.scan),
            Some(c) if begins_word(c) => bare_key(&mut self.scan),
            Some(c) => {
                let message = format!("expected a key or '}}', found {c:?}");
                let advice = (c == ',').then_some("remove the extra comma");
                self.note(key_place, message, advice);
                if c != ',' {
                    self.skip_to_separator()?;
                }
                return Ok(None);
            }
            None => return Ok(None),
        };
        let key = match key {
            Ok(key) => key,
            Err(fault) => {
                self.keep(fault)?;
                self.skip_to_separator()?;
                return Ok(None);
            }
        };
        self.extents.insert(key_place, start..self.scan.offset());
        self.blank()?;
        if !self.scan.eat(':') {
            let place = self.scan.place();
            let found =
                self.scan.peek().map_or("the end of the file".to_owned(), |c| format!("{c:?}"));
            let advice = if self.scan.peek() == Some('=') {
                Some("write ':' instead of '='".to_owned())
            } else if self.scan.peek() == Some('-') {
                Some("write the key in quotes".to_owned())
            } else {
                None
            };
            self.note(
                place,
                format!("expected ':' after the key {key:?}, found {found}"),
                advice.as_deref(),
            );
            self.skip_to_separator()?;
            return Ok(None);
        }
        self.blank()?;
        let node = self.value()?;
        Ok(Some(Member { key, key_place, node }))
    }

    fn array(&mut self, open: Place) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            self.blank()?;
            match self.scan.peek() {
                Some(']') => {
                    self.scan.next();
                    return Ok(Value::Array(items));
                }
                None => return self.never_closed(open, '['),
                Some('}') => return self.wrong_closer(open, '[', '}'),
                Some(_) => {}
            }
            items.push(self.value()?);
            self.separator(']')?;
        }
    }

    /// Takes the comma after a member or item, or leaves the closing bracket for the caller.
    fn separator(&mut self, close: char) -> Result<(), Stop> {
        self.blank()?;
        match self.scan.peek() {
            Some(',') => {
                self.scan.next();
                Ok(())
            }
            // The end of the file and brackets are the caller's to judge.
            Some('}' | ']') | None => Ok(()),
            Some(c) => {
                let place = self.scan.place();
                self.note(
                    place,
                    format!("expected ',' or '{close}', found {c:?}"),
                    Some("is a comma missing before it?"),
                );
                if !(begins_word(c)
                    || c.is_ascii_digit()
                    || matches!(c, '"' | '\'' | '{' | '[' | '+' | '-' | '.'))
                {
                    self.skip_to_separator()?;
                    self.scan.eat(',');
                }
                self.check_count()
            }
        }
    }

    /// Goes forward to a `,` or closing bracket of this level.
    fn skip_to_separator(&mut self) -> Result<(), Stop> {
        let mut level = 0_usize;
        loop {
            self.blank()?;
            match self.scan.peek() {
                None => return Ok(()),
                Some(',') if level == 0 => return self.check_count(),
                Some('}' | ']') if level == 0 => return self.check_count(),
                Some('"' | '\'') => drop(quoted(&mut self.scan)),
                Some(c) => {
                    match c {
                        '{' | '[' => level += 1,
                        '}' | ']' => level -= 1,
                        _ => {}
                    }
                    self.scan.next();
                }
            }
        }
    }

    fn blank(&mut self) -> Result<(), Stop> {
        self.scan.skip_blank().map_err(|fault| {
            self.faults.push(fault);
            Stop
        })
    }

    fn note(&mut self, place: Place, message: String, suggestion: Option<&str>) {
        self.faults.push(SyntaxFault { place, message, suggestion: suggestion.map(str::to_owned) });
    }

    fn keep(&mut self, fault: SyntaxFault) -> Result<(), Stop> {
        self.faults.push(fault);
        self.check_count()
    }

    fn check_count(&self) -> Result<(), Stop> {
        if self.faults.len() >= FAULTS_MAX { Err(Stop) } else { Ok(()) }
    }

    fn stop<T>(&mut self, place: Place, message: &str, advice: Option<&str>) -> Result<T, Stop> {
        self.note(place, message.to_owned(), advice);
        Err(Stop)
    }

    fn never_closed<T>(&mut self, open: Place, bracket: char) -> Result<T, Stop> {
        let message = format!("expected the rest of '{bracket}', found the end of the file");
        let advice = format!("it was opened at {}:{}", open.line, open.column);
        let place = self.scan.place();
        self.stop(place, &message, Some(&advice))
    }

    fn wrong_closer<T>(&mut self, open: Place, bracket: char, found: char) -> Result<T, Stop> {
        let message = format!("expected the rest of '{bracket}', found '{found}'");
        let advice = format!("it was opened at {}:{}", open.line, open.column);
        let place = self.scan.place();
        self.stop(place, &message, Some(&advice))
    }
}
