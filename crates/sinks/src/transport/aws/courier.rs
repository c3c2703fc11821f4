//! What the search for credentials needs of the outside: requests, files, commands.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqsign_core::{CommandExecute, CommandOutput, Env, Error, FileRead, HttpSend};

use crate::{
    BuildError, WriteError,
    transport::http::{
        HttpClient, HttpSettings, Request, Url,
        header::{CONTENT_LENGTH, HOST},
    },
};

/// How long a command that knows credentials may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// More is no credential.
const MOST_OUTPUT: u64 = 64 << 10;

/// Fetches what credentials are made from; clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Courier {
    /// For metadata services of this machine, which answer at once or not at all.
    near: HttpClient,
    far: HttpClient,
    /// Address of the token service, where it is not AWS's own.
    tokens: Option<Url>,
    /// What went wrong last, in words that may be shown, and whether it may pass.
    trouble: Arc<Mutex<Option<(String, bool)>>>,
}

impl Courier {
    pub(super) fn new(environment: &impl Env) -> Result<Courier, BuildError> {
        let client = |connect, timeout| {
            HttpClient::new(HttpSettings {
                connect_timeout: Duration::from_secs(connect),
                timeout: Duration::from_secs(timeout),
                ..HttpSettings::default()
            })
        };
        let tokens = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"]
            .into_iter()
            .find_map(|name| environment.var(name).filter(|url| !url.is_empty()));
        Ok(Courier {
            near: client(1, 5)?,
            far: client(10, 30)?,
            tokens: tokens.and_then(|url| Url::parse(&url).ok()),
            trouble: Arc::default(),
        })
    }

    /// What went wrong since it was asked last.
    pub(super) fn take_trouble(&self) -> Option<(String, bool)> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, text: String, passing: bool) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some((text, passing));
    }
}

impl HttpSend for Courier {
    async fn http_send(&self, request: ::http::Request<Bytes>) -> reqsign_core::Result<::http::Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let mut url = Url::parse(&parts.uri.to_string())
            .map_err(|error| Error::request_invalid(format!("{}: {error}", parts.uri.path())))?;
        let is_token = url.host_str().is_some_and(|host| host.starts_with("sts."));
        if let Some(tokens) = self.tokens.as_ref().filter(|_| is_token) {
            url = tokens.clone();
            url.set_query(parts.uri.query());
        }
        let client = if url.scheme() == "http" { &self.near } else { &self.far };
        let mut sent = Request::new(parts.method, url).body(body);
        for (name, value) in &parts.headers {
            if name != CONTENT_LENGTH && name != HOST {
                sent = sent.header_value(name.clone(), value.clone());
            }
        }
        let answer = client.send(sent).await.map_err(|error| {
            let passing = matches!(error, WriteError::Retry { .. });
            self.note(error.to_string(), passing);
            Error::unexpected("no answer").set_retryable(passing)
        })?;
        if !answer.status.is_success() {
            let passing = answer.status.is_server_error() || answer.status.as_u16() == 429;
            self.note(answer.describe(), passing);
        }
        let mut response = ::http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        Ok(response)
    }
}

impl FileRead for Courier {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        tokio::fs::read(path).await.map_err(|error| {
            self.note(format!("{path}: {error}"), false);
            Error::config_invalid("a file cannot be read")
        })
    }
}

impl CommandExecute for Courier {
    /// Runs the line in a shell, as every tool of AWS does.
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        arguments: &'a [&'a str],
    ) -> reqsign_core::Result<CommandOutput> {
        let mut words = vec![program];
        words.extend_from_slice(arguments);
        let ended = match Running::start(&words.join(" ")) {
            Ok(mut running) => running.end().await,
            Err(error) => Err(error.to_string()),
        };
        let (status, stdout) = ended.map_err(|text| {
            self.note(format!("credential_process: {text}"), true);
            Error::unexpected("no output")
        })?;
        if status != 0 {
            self.note(format!("credential_process ended with {status}"), true);
        }
        Ok(CommandOutput {
            status,
            stdout,
            stderr: Vec::new(),
        })
    }
}

/// A command that ends with whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(line: &str) -> std::io::Result<Running> {
        let mut command = Command::new("sh");
        command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::null()).spawn().map(Running)
    }

    /// Its exit code and output.
    async fn end(&mut self) -> Result<(i32, Vec<u8>), String> {
        let until = Instant::now() + PATIENCE;
        let late = || format!("no end within {} s", PATIENCE.as_secs());
        let output = self.0.stdout.take();
        let reading = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            match output {
                Some(output) => output.take(MOST_OUTPUT).read_to_end(&mut read).map(|_| read),
                None => Ok(read),
            }
        });
        let read = tokio::time::timeout(PATIENCE, reading).await.map_err(|_| late())?;
        let read = read.map_err(|error| error.to_string())?;
        let read = read.map_err(|error| error.to_string())?;
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Ok((status.code().unwrap_or(-1), read)),
                Ok(None) if Instant::now() > until => return Err(late()),
                Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
