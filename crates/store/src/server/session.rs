//! What one client has said so far, and the commands that are about it: login, protocol, transactions.

use std::sync::Arc;

use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::{
    commands::{self, Outcome, Spec, upper},
    reply::Replies,
};
use crate::{Settings, log::Locked};

/// The version of Redis whose answers these are.
pub(super) const REDIS_VERSION: &str = "7.0.15";
/// Commands, and bytes of arguments, of one transaction.
const MOST_QUEUED: usize = 10_000;
const MOST_QUEUED_BYTES: usize = 16 << 20;

/// Bytes of replies of one transaction after which nothing more is read for it.
const MOST_REPLIES: usize = 16 << 20;

const NOAUTH: &str = "NOAUTH Authentication required.";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// One client.
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) settings: Arc<Settings>,
    pub(super) name: String,
    pub(super) resp3: bool,
    pub(super) authenticated: bool,
    transaction: Option<Transaction>,
}

#[derive(Default)]
struct Transaction {
    commands: Vec<Vec<Bytes>>,
    bytes: usize,
    broken: bool,
}

/// What a login said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// The reply can go out.
    Done,
    /// The password was wrong: the reply has to wait.
    Wrong,
}

impl Session {
    pub(super) fn new(id: u64, settings: Arc<Settings>) -> Self {
        Self {
            id,
            authenticated: settings.password.is_empty(),
            settings,
            name: String::new(),
            resp3: false,
            transaction: None,
        }
    }

    /// Bytes of the commands that wait for EXEC.
    pub(super) fn queued(&self) -> usize {
        self.transaction.as_ref().map_or(0, |transaction| transaction.bytes)
    }

    /// Whether commands are being collected.
    pub(super) fn collects(&self) -> bool {
        self.transaction.is_some()
    }

    /// Compares in constant time, whatever is wrong about it.
    fn knows(&self, user: &[u8], password: &[u8]) -> bool {
        let same = |given: &[u8], wanted: &[u8]| {
            // Hashed first, so that lengths do not show either.
            let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
            digest(given).as_ref().ct_eq(digest(wanted).as_ref())
        };
        let user = same(user, self.settings.username.as_bytes());
        let password = same(password, self.settings.password.as_bytes());
        bool::from(user & password)
    }

    fn is_open(&self) -> bool {
        self.settings.password.is_empty()
    }

    /// AUTH and HELLO.
    pub(super) fn login(&mut self, arguments: &[Bytes], replies: &mut Replies) -> Login {
        match upper(arguments.first()).as_str() {
            "AUTH" => self.auth(arguments, replies),
            _ => self.hello(arguments, replies),
        }
    }

    fn auth(&mut self, arguments: &[Bytes], replies: &mut Replies) -> Login {
        let (user, password) = match arguments {
            [_, password] => {
                if self.is_open() {
                    replies.error(
                        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
                    );
                    return Login::Done;
                }
                (
                    Bytes::copy_from_slice(self.settings.username.as_bytes()),
                    password.clone(),
                )
            }
            [_, user, password] => (user.clone(), password.clone()),
            [_] => {
                replies.error("ERR wrong number of arguments for 'auth' command");
                return Login::Done;
            }
            _ => {
                replies.error(commands::SYNTAX);
                return Login::Done;
            }
        };
        if self.accepts(&user, &password) {
            self.authenticated = true;
            replies.ok();
            return Login::Done;
        }
        replies.error(WRONGPASS);
        Login::Wrong
    }

    fn accepts(&self, user: &[u8], password: &[u8]) -> bool {
        // As Redis does for a user without a password.
        (self.is_open() && user == self.settings.username.as_bytes()) || (!self.is_open() && self.knows(user, password))
    }

    fn hello(&mut self, arguments: &[Bytes], replies: &mut Replies) -> Login {
        let mut wanted = self.resp3;
        if let Some(version) = arguments.get(1) {
            wanted = match std::str::from_utf8(version)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
            {
                Some(2) => false,
                Some(3) => true,
                Some(_) => {
                    replies.error("NOPROTO unsupported protocol version");
                    return Login::Done;
                }
                None => {
                    replies.error("ERR Protocol version is not an integer or out of range");
                    return Login::Done;
                }
            };
        }
        let mut rest = arguments.get(2..).unwrap_or_default();
        let mut name = None;
        let mut login = None;
        while let Some(option) = rest.first() {
            match (upper(Some(option)).as_str(), rest) {
                ("AUTH", [_, user, password, ..]) => {
                    login = Some((user.clone(), password.clone()));
                    rest = rest.get(3..).unwrap_or_default();
                }
                ("SETNAME", [_, given, ..]) => {
                    name = Some(String::from_utf8_lossy(given).into_owned());
                    rest = rest.get(2..).unwrap_or_default();
                }
                _ => {
                    let option = String::from_utf8_lossy(option);
                    replies.error(&format!("ERR Syntax error in HELLO option '{option}'"));
                    return Login::Done;
                }
            }
        }
        if let Some((user, password)) = login {
            if !self.accepts(&user, &password) {
                replies.error(WRONGPASS);
                return Login::Wrong;
            }
            self.authenticated = true;
        }
        if !self.authenticated {
            replies.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
            );
            return Login::Done;
        }
        if let Some(name) = name {
            self.name = name;
        }
        self.resp3 = wanted;
        replies.speak(wanted);
        replies.map(7);
        for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
            replies.bulk(name.as_bytes());
            replies.bulk(value.as_bytes());
        }
        replies.bulk(b"proto");
        replies.integer(if wanted { 3 } else { 2 });
        replies.bulk(b"id");
        replies.integer(self.id as i64);
        for (name, value) in [("mode", "standalone"), ("role", "master")] {
            replies.bulk(name.as_bytes());
            replies.bulk(value.as_bytes());
        }
        replies.bulk(b"modules");
        replies.array(0);
        Login::Done
    }

    /// Any other command. `Outcome::Close`: the connection ends after the reply.
    pub(super) fn run(&mut self, locked: &mut Locked<'_>, arguments: Vec<Bytes>, replies: &mut Replies) -> Outcome {
        let name = upper(arguments.first());
        if name == "QUIT" {
            replies.ok();
            return Outcome::Close;
        }
        let spec = match commands::find(&name, &arguments) {
            Ok(spec) => spec,
            Err(text) => {
                self.refuse(&text, replies);
                return Outcome::Open;
            }
        };
        if !self.authenticated {
            self.refuse(NOAUTH, replies);
            return Outcome::Open;
        }
        match (name.as_str(), &mut self.transaction) {
            ("MULTI", Some(_)) => replies.error("ERR MULTI calls can not be nested"),
            ("MULTI", None) => {
                self.transaction = Some(Transaction::default());
                replies.ok();
            }
            ("EXEC", _) => self.execute(locked, replies),
            ("DISCARD", Some(_)) => {
                self.transaction = None;
                replies.ok();
            }
            ("DISCARD", None) => replies.error("ERR DISCARD without MULTI"),
            ("RESET", _) => {
                let (id, settings) = (self.id, self.settings.clone());
                *self = Session::new(id, settings);
                replies.speak(false);
                replies.simple("RESET");
            }
            (_, Some(transaction)) => {
                let bytes: usize = arguments.iter().map(|argument| argument.len() + 64).sum();
                if transaction.commands.len() >= MOST_QUEUED || transaction.bytes + bytes > MOST_QUEUED_BYTES {
                    self.refuse("ERR this transaction is too large for the embedded store", replies);
                    return Outcome::Open;
                }
                transaction.bytes += bytes;
                // Its bytes must not keep the buffer that they came in.
                let own = arguments.iter().map(|argument| Bytes::copy_from_slice(argument));
                transaction.commands.push(own.collect());
                replies.simple("QUEUED");
            }
            (_, None) => (spec.run)(self, locked, &arguments, replies),
        }
        Outcome::Open
    }

    fn refuse(&mut self, text: &str, replies: &mut Replies) {
        if let Some(transaction) = &mut self.transaction {
            transaction.broken = true;
        }
        replies.error(text);
    }

    fn execute(&mut self, locked: &mut Locked<'_>, replies: &mut Replies) {
        let Some(transaction) = self.transaction.take() else {
            replies.error("ERR EXEC without MULTI");
            return;
        };
        if transaction.broken {
            replies.error("EXECABORT Transaction discarded because of previous errors.");
            return;
        }
        replies.array(transaction.commands.len());
        for arguments in transaction.commands {
            let name = upper(arguments.first());
            let found: Result<&Spec, String> = commands::find(&name, &arguments);
            match found {
                Ok(_) if matches!(name.as_str(), "AUTH" | "HELLO") => {
                    self.login(&arguments, replies);
                }
                // All of them are carried out under the lock, and nothing is sent before the last one.
                Ok(spec) if matches!(spec.name, "keys" | "scan") => {
                    replies.error("ERR the embedded store does not look through all keys inside a transaction");
                }
                Ok(spec) if replies.size() > MOST_REPLIES && spec.flags.contains(&"readonly") => {
                    replies.error("ERR the replies of this transaction are too large for the embedded store");
                }
                Ok(spec) => (spec.run)(self, locked, &arguments, replies),
                Err(text) => replies.error(&text),
            }
        }
    }
}
