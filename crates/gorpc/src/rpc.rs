//! Requests and responses.

use crate::gob::{self, Basic, Value, ids};

/// A call as it comes to a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Number on its connection; 0: no answer is wanted.
    pub id: u64,
    /// Name of the function, with the dot in front that stands for the nameless service.
    pub name: String,
    /// Its argument.
    pub argument: Option<Basic>,
}

/// An answer as it comes to a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// Number of the call.
    pub id: u64,
    /// How it went.
    pub outcome: Outcome,
}

/// How a call went.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The function returned, with a value or without.
    Returned(Option<Basic>),
    /// The function returned an error.
    Failed(String),
    /// The server could not run the function.
    Broken(String),
}

/// A message that is no request or response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct RpcError {
    /// Which part of which message.
    pub place: String,
    /// What is wrong with it.
    pub what: String,
}

/// How type definitions are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// All of them before the first value, each as a message.
    #[default]
    UpFront,
    /// As Go does: the inner one inside the first value, which is cut there.
    InPlace,
}

const REQUEST: &str = "*gorpc.dispatcherRequest";
const RESPONSE: &str = "*gorpc.dispatcherResponse";

impl Request {
    /// What a decoded message says.
    pub fn of(message: &Value) -> Result<Request, RpcError> {
        let id = number(message, "request")?;
        let error = |what: String| bad(format!("request {id}"), what);
        let inner = match interface(message, "Request") {
            Some((REQUEST, inner)) => inner,
            Some((other, _)) => return Err(error(format!("holds \"{other}\" instead of \"{REQUEST}\""))),
            None => return Err(error("holds nothing".to_owned())),
        };
        let name = text(inner, "Name").map_err(error)?;
        let argument = basic(inner, "Request").map_err(error)?;
        Ok(Request { id, name, argument })
    }
}

impl Response {
    /// What a decoded message says.
    pub fn of(message: &Value) -> Result<Response, RpcError> {
        let id = number(message, "response")?;
        let error = |what: String| bad(format!("response {id}"), what);
        let broken = text(message, "Error").map_err(error)?;
        if !broken.is_empty() {
            let outcome = Outcome::Broken(broken);
            return Ok(Response { id, outcome });
        }
        let inner = match interface(message, "Response") {
            Some((RESPONSE, inner)) => inner,
            Some((other, _)) => return Err(error(format!("holds \"{other}\" instead of \"{RESPONSE}\""))),
            None => return Err(error("holds nothing".to_owned())),
        };
        let failed = text(inner, "Error").map_err(error)?;
        let outcome = match failed.is_empty() {
            true => Outcome::Returned(basic(inner, "Response").map_err(error)?),
            false => Outcome::Failed(failed),
        };
        Ok(Response { id, outcome })
    }
}

fn bad(place: impl Into<String>, what: impl Into<String>) -> RpcError {
    RpcError {
        place: place.into(),
        what: what.into(),
    }
}

fn number(message: &Value, kind: &str) -> Result<u64, RpcError> {
    match (message, message.field("ID")) {
        (Value::Struct(_), None) => Ok(0),
        (_, Some(Value::Basic(Basic::Uint(id)))) => Ok(*id),
        (_, Some(other)) => Err(bad(kind, format!("its ID is of type {}", other.kind()))),
        (other, None) => Err(bad(kind, format!("is no structure but {}", other.kind()))),
    }
}

fn interface<'a>(message: &'a Value, field: &str) -> Option<(&'a str, &'a Value)> {
    match message.field(field) {
        Some(Value::Interface(name, value)) => Some((name, value)),
        _ => None,
    }
}

/// Empty when the field is missing.
fn text(message: &Value, field: &str) -> Result<String, String> {
    match message.field(field) {
        None => Ok(String::new()),
        Some(Value::Basic(Basic::Text(text))) => Ok(String::from_utf8_lossy(text).into_owned()),
        Some(other) => Err(format!("its {field} is of type {}", other.kind())),
    }
}

fn basic(message: &Value, field: &str) -> Result<Option<Basic>, String> {
    match message.field(field) {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Interface(name, value)) => match &**value {
            Value::Basic(basic) => Ok(Some(basic.clone())),
            other => Err(format!("its {field} holds \"{name}\", a {}", other.kind())),
        },
        Some(other) => Err(format!("its {field} is of type {}", other.kind())),
    }
}

/// Writes the requests of one connection.
#[derive(Debug)]
pub struct RequestWriter(Writer);

/// Writes the responses of one connection.
#[derive(Debug)]
pub struct ResponseWriter(Writer);

impl RequestWriter {
    /// `first_id`: number of the first type, 64 or more.
    pub fn new(style: Style, first_id: i64) -> RequestWriter {
        let outer = ("wireRequest", [("ID", ids::UINT), ("Request", ids::INTERFACE)]);
        let inner = ("dispatcherRequest", [("Request", ids::INTERFACE), ("Name", ids::TEXT)]);
        RequestWriter(Writer::new(
            style,
            first_id,
            (outer.0, &outer.1),
            (inner.0, &inner.1),
            REQUEST,
        ))
    }

    /// Appends a request, behind definitions if it is the first one.
    pub fn write(&mut self, out: &mut Vec<u8>, id: u64, name: &str, argument: Option<&Basic>) {
        let mut inner = Vec::new();
        let mut fields = FieldWriter::default();
        if let Some(argument) = argument {
            fields.next(&mut inner, 0);
            gob::write_basic(&mut inner, argument);
        }
        fields.text(&mut inner, 1, name);
        inner.push(0);
        self.0.envelope(out, id, Some(inner), "");
    }
}

impl ResponseWriter {
    /// `first_id`: number of the first type, 64 or more.
    pub fn new(style: Style, first_id: i64) -> ResponseWriter {
        let outer = (
            "wireResponse",
            [("ID", ids::UINT), ("Response", ids::INTERFACE), ("Error", ids::TEXT)],
        );
        let inner = (
            "dispatcherResponse",
            [("Response", ids::INTERFACE), ("Error", ids::TEXT)],
        );
        ResponseWriter(Writer::new(
            style,
            first_id,
            (outer.0, &outer.1),
            (inner.0, &inner.1),
            RESPONSE,
        ))
    }

    /// Appends a response, behind definitions if it is the first one.
    pub fn write(&mut self, out: &mut Vec<u8>, response: &Response) {
        let mut inner = Vec::new();
        let mut fields = FieldWriter::default();
        match &response.outcome {
            Outcome::Broken(error) => return self.0.envelope(out, response.id, None, error),
            Outcome::Returned(None) => {}
            Outcome::Returned(Some(value)) => {
                fields.next(&mut inner, 0);
                gob::write_basic(&mut inner, value);
            }
            Outcome::Failed(error) => fields.text(&mut inner, 1, error),
        }
        inner.push(0);
        self.0.envelope(out, response.id, Some(inner), "");
    }
}

/// Distances between the fields of a structure.
struct FieldWriter(i64);

impl Default for FieldWriter {
    fn default() -> Self {
        Self(-1)
    }
}

impl FieldWriter {
    fn next(&mut self, out: &mut Vec<u8>, field: i64) {
        gob::write_unsigned(out, (field - self.0) as u64);
        self.0 = field;
    }

    fn text(&mut self, out: &mut Vec<u8>, field: i64, text: &str) {
        if !text.is_empty() {
            self.next(out, field);
            gob::write_text(out, text.as_bytes());
        }
    }
}

/// Envelopes of one direction of a connection.
#[derive(Debug)]
struct Writer {
    style: Style,
    /// Numbers of both types.
    outer: i64,
    inner: i64,
    /// Definitions that were not sent yet.
    define_outer: Option<Vec<u8>>,
    define_inner: Option<Vec<u8>>,
    inner_name: &'static str,
}

type Shape<'a> = (&'a str, &'a [(&'a str, i64)]);

impl Writer {
    fn new(style: Style, first_id: i64, outer: Shape<'_>, inner: Shape<'_>, inner_name: &'static str) -> Writer {
        let (outer_id, inner_id) = (first_id, first_id + 1);
        let definition = |id, (name, fields): Shape<'_>| {
            let mut out = Vec::new();
            gob::write_struct_type(&mut out, id, name, fields);
            Some(out)
        };
        Writer {
            style,
            outer: outer_id,
            inner: inner_id,
            define_outer: definition(outer_id, outer),
            define_inner: definition(inner_id, inner),
            inner_name,
        }
    }

    /// `inner`: the dispatcher's structure. `error`: the last field, of responses.
    fn envelope(&mut self, out: &mut Vec<u8>, id: u64, inner: Option<Vec<u8>>, error: &str) {
        if let Some(definition) = self.define_outer.take() {
            gob::write_message(out, &definition);
            if self.style == Style::UpFront
                && let Some(definition) = self.define_inner.take()
            {
                gob::write_message(out, &definition);
            }
        }
        let mut head = Vec::new();
        let mut fields = FieldWriter::default();
        gob::write_signed(&mut head, self.outer);
        if id != 0 {
            fields.next(&mut head, 0);
            gob::write_unsigned(&mut head, id);
        }
        if inner.is_some() {
            fields.next(&mut head, 1);
            gob::write_text(&mut head, self.inner_name.as_bytes());
            if let Some(definition) = self.define_inner.take() {
                head.extend_from_slice(&definition);
                gob::write_message(out, &head);
                head.clear();
            }
            gob::write_signed(&mut head, self.inner);
        }
        let mut tail = Vec::new();
        let inner = inner.inspect(|inner| gob::write_unsigned(&mut head, inner.len() as u64));
        fields.text(&mut tail, 2, error);
        tail.push(0);
        // The inner structure can be long: it is copied once.
        let inner = inner.unwrap_or_default();
        gob::write_unsigned(out, (head.len() + inner.len() + tail.len()) as u64);
        for part in [&head, &inner, &tail] {
            out.extend_from_slice(part);
        }
    }
}
