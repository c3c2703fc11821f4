//! The HTTP client of every sink that speaks HTTP.
//!
//! A sink makes one [`HttpClient`] when it is built and keeps it: connections are kept alive and shared. It reads its
//! address with [`Endpoint::parse`], which takes credentials out of the URL, so that no log line can show them.
//!
//! ```no_run
//! # use sinks::{WriteError, http::{Endpoint, HttpClient, HttpSettings, Request}};
//! # async fn write() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::parse("meta.url", "https://user:secret@logs.example.com:8071/in?x=1")?;
//! let client = HttpClient::new(HttpSettings::default())?;
//! let request = Request::post(endpoint.url.clone()).header("content-type", "application/json").gzip(b"{}".to_vec());
//! let answer = client.send(request).await?.accepted()?;
//! assert!(answer.status.is_success());
//! # Ok(()) }
//! ```
//!
//! [`HttpClient::send`] answers with whatever status came; only a request without an answer is an error.
//! [`Answer::accepted`] then says what a status means for the rows of the request:
//!
//! | answer | becomes |
//! |---|---|
//! | 2xx | the answer itself |
//! | none: refused, reset, timed out, closed half-way; 408, 425, 429, 5xx | [`WriteError::Retry`], with the server's `Retry-After` |
//! | a certificate that is not trusted; 401, 403, 404, 405, 407, also of a proxy; a redirect that would lose the body | [`WriteError::Config`]: the lane pauses and says so |
//! | 413 and other 4xx | [`WriteError::Reject`] without rows: the lane halves the group until it knows the row |
//!
//! A sink that knows more about a status looks at [`Answer::status`] first. Redirects 307 and 308 are followed, because
//! they keep method and body; to another origin only headers go along that cannot be credentials. Bodies of answers are
//! read up to a limit, and of their texts only what cannot be a piece of the request gets into errors.

mod alias;
mod answer;
mod proxy;

use std::{error::Error, io::Write, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
pub use reqwest::{Method, StatusCode, Url, header};
use reqwest::{
    Response,
    header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, REFERER,
        USER_AGENT,
    },
    redirect::Policy,
};

use self::alias::Alias;
pub use self::answer::Answer;
use crate::{
    BuildError, WriteError,
    transport::{
        login,
        tls::{self, TlsSettings},
    },
};

/// Most bytes of an answer that are read when it is a success, unless a request expects more.
const ANSWER_LIMIT: usize = 256 << 10;
/// And when it is not: only its beginning is shown.
const ERROR_LIMIT: usize = 64 << 10;
/// How often a request may be sent on to another address.
const MAX_REDIRECTS: usize = 10;

/// What a client is made from.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// For `https` addresses.
    pub tls: TlsSettings,
    /// The only address of a client whose `tls` has a server name, so that the server is asked for that name.
    pub named: Option<Url>,
    /// For the connection, TLS included.
    pub connect_timeout: Duration,
    /// For a request from its beginning until the last byte of its answer; anew after a redirect.
    pub timeout: Duration,
    /// Texts that no error may show, should an answer repeat them.
    pub secrets: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            tls: TlsSettings::default(),
            named: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            secrets: Vec::new(),
        }
    }
}

/// Sends requests; cheap to clone, clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    alias: Option<Alias>,
    secrets: std::sync::Arc<[String]>,
}

/// An address without its credentials.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Without user and password.
    pub url: Url,
    /// `Authorization` that the URL's user and password make.
    pub authorization: Option<HeaderValue>,
    /// The password of the URL, if any: one for [`HttpSettings::secrets`].
    pub secret: Option<String>,
}

impl Endpoint {
    /// `option` names the setting in errors, which never show the URL's password.
    pub fn parse(option: &str, text: &str) -> Result<Endpoint, BuildError> {
        let wrong = |what: String| BuildError::Options(format!("{option}: {what} – write https://host:port/path"));
        if text
            .split_once("://")
            .is_some_and(|(_, rest)| login::is_cut(rest, &['/', '?', '#']))
        {
            return Err(wrong(login::UNESCAPED.to_owned()));
        }
        let mut url = Url::parse(text.trim()).map_err(|error| wrong(format!("not a URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong(format!("the scheme \"{}\" is not http or https", url.scheme())));
        }
        let decode = |part: &str| {
            percent_encoding::percent_decode_str(part)
                .decode_utf8_lossy()
                .into_owned()
        };
        let user = decode(url.username());
        let password = url.password().map(decode);
        let has_credentials = !user.is_empty() || password.is_some();
        let authorization = has_credentials.then(|| basic(&user, password.as_deref().unwrap_or_default()));
        // Both only fail for URLs without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Endpoint {
            url,
            authorization,
            secret: password.filter(|password| !password.is_empty()),
        })
    }

    /// What a path is appended to: a slash behind another path stays as it was written, a lone one is no path.
    pub fn base(&self) -> &str {
        match self.url.path() {
            "/" => self.url.as_str().trim_end_matches('/'),
            _ => self.url.as_str(),
        }
    }
}

/// The value of `Authorization` for a user and a password, hidden from debug output.
pub fn basic(user: &str, password: &str) -> HeaderValue {
    secret_header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header whose value is hidden from debug output. Characters that no header may have are left out.
pub fn secret_header(text: &str) -> HeaderValue {
    let allowed: Vec<u8> = text
        .bytes()
        .filter(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
        .collect();
    let mut value = HeaderValue::from_bytes(&allowed).unwrap_or_else(|_| HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// One request; cheap to clone, so that it can be sent again.
#[derive(Clone, Debug)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    answer_limit: usize,
}

impl Request {
    /// Without headers and body.
    pub fn new(method: Method, url: Url) -> Request {
        Request {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// A `POST`.
    pub fn post(url: Url) -> Request {
        Request::new(Method::POST, url)
    }

    /// Sets a header that is known when the program is written.
    pub fn header(mut self, name: &'static str, value: &'static str) -> Request {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// Sets a header.
    pub fn header_value(mut self, name: HeaderName, value: HeaderValue) -> Request {
        self.headers.insert(name, value);
        self
    }

    /// Sets `Authorization`, if there is one.
    pub fn authorization(self, value: Option<&HeaderValue>) -> Request {
        match value {
            Some(value) => self.header_value(AUTHORIZATION, value.clone()),
            None => self,
        }
    }

    /// Most bytes of a successful answer, where a quarter of a MiB is too few.
    pub fn answer_limit(mut self, bytes: usize) -> Request {
        self.answer_limit = bytes.max(ANSWER_LIMIT);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = body.into();
        self
    }

    /// Sets the body, compressed, and says so in a header.
    pub fn gzip(self, body: impl AsRef<[u8]>) -> Request {
        self.header_value(CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            .body(gzip(body.as_ref()))
    }

    /// Goes to `next`, with the credentials that were for `first` if they may be known there.
    fn follow(&mut self, first: &Url, next: Url) {
        let mut from = self.url.clone();
        // Both only fail for URLs without a host.
        let _ = from.set_username("");
        let _ = from.set_password(None);
        from.set_fragment(None);
        let from = HeaderValue::from_str(from.as_str());
        if !shares_credentials(first, &next) {
            // Whatever is not known to be harmless may be a credential.
            let harmless = [CONTENT_TYPE, CONTENT_ENCODING, USER_AGENT];
            let kept = harmless.map(|name| self.headers.remove(&name).map(|value| (name, value)));
            self.headers = kept.into_iter().flatten().collect();
        } else if let Ok(from) = from {
            self.headers.insert(REFERER, from);
        }
        self.url = next;
    }
}

/// Quick rather than small: records shrink to a fifth all the same.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(body.len() / 4), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

impl HttpClient {
    /// Errors: files of `settings.tls` that cannot be used.
    pub fn new(settings: HttpSettings) -> Result<HttpClient, BuildError> {
        let mut tls = tls::client_config(&settings.tls).map_err(|error| BuildError::Options(error.to_string()))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let builder = reqwest::Client::builder()
            .user_agent(concat!("tyk-pump/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .http1_only()
            .redirect(Policy::none())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .tcp_nodelay(true);
        let rules = proxy::from_environment()?;
        let is_direct = |url: &Url| rules.as_ref().is_none_or(|rules| rules.proxy_of(url).is_none());
        // A proxy finds the host by itself, and needs its real name: then only the certificate is checked for the other.
        let named = settings.named.as_ref().filter(|url| is_direct(url));
        let alias = Alias::new(settings.tls.server_name.as_deref(), named);
        let builder = match (alias.clone(), rules) {
            (Some(alias), _) => builder.no_proxy().dns_resolver(alias),
            (None, Some(rules)) => builder.proxy(rules.into_proxy()),
            (None, None) => builder.no_proxy(),
        };
        let client = builder
            .build()
            .map_err(|error| BuildError::Options(format!("HTTP client: {}", innermost(&error))))?;
        Ok(HttpClient {
            client,
            alias,
            secrets: settings
                .secrets
                .into_iter()
                .filter(|secret| !secret.is_empty())
                .collect(),
        })
    }

    /// Sends `request` and reads the answer, whatever its status.
    ///
    /// Errors: `Retry` when no answer came, `Config` when the server's certificate, or ours, is not accepted.
    pub async fn send(&self, mut request: Request) -> Result<Answer, WriteError> {
        let mut shown = request.url.clone();
        shown.set_query(None);
        let target = format!("{} {shown}", request.method);
        let first = request.url.clone();
        let mut response = self.send_once(&request, &target).await?;
        for _ in 0..MAX_REDIRECTS {
            let Some(next) = redirect(&response, &request.url) else {
                break;
            };
            request.follow(&first, next);
            response = self.send_once(&request, &target).await?;
        }
        Answer::read(target, response, request.answer_limit, self.secrets.clone()).await
    }

    async fn send_once(&self, request: &Request, target: &str) -> Result<Response, WriteError> {
        let (mut url, mut headers) = (request.url.clone(), request.headers.clone());
        if let Some(host) = self.alias.as_ref().and_then(|alias| alias.apply(&mut url)) {
            headers.insert(HOST, host);
        }
        let sent = self
            .client
            .request(request.method.clone(), url)
            .headers(headers)
            .body(request.body.clone())
            .send();
        sent.await.map_err(|error| no_answer(target, &error))
    }
}

/// Where to send a request again, with its method and body.
fn redirect(response: &Response, url: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 307 | 308) {
        return None;
    }
    let next = url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    matches!(next.scheme(), "http" | "https").then_some(next)
}

/// Whether `next` may know what was meant for `first`: the same origin, or the same host that has moved from `http` to
/// `https`, each on its usual port.
fn shares_credentials(first: &Url, next: &Url) -> bool {
    let moved = (first.scheme(), next.scheme()) == ("http", "https");
    let usual = moved && first.port().is_none() && next.port().is_none();
    first.origin() == next.origin() || (usual && first.host() == next.host())
}

fn no_answer(target: &str, error: &reqwest::Error) -> WriteError {
    if let Some(error) = tls_error(error) {
        let advice = "check the scheme and port of the URL, the ssl_* options and the server's certificate";
        return WriteError::Config(format!("{target}: TLS: {error} – {advice}").into());
    }
    // The type of this error is hidden; its words are what there is.
    if error.is_connect() && innermost(error).ends_with("proxy authorization required") {
        let advice = "write user and password into the proxy's address in HTTPS_PROXY";
        return WriteError::Config(format!("{target}: the proxy says 407, authorization required – {advice}").into());
    }
    let what = if error.is_timeout() && error.is_connect() {
        "no connection in time".to_owned()
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        format!("cannot connect: {}", innermost(error))
    } else {
        innermost(error)
    };
    WriteError::retry(format!("{target}: {what}"))
}

/// The TLS error that `error` comes from, past the wrapping of I/O errors, which hide what they hold.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// The error at the bottom, which says what happened; those above it say where.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
