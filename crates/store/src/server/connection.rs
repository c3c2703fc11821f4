//! One connection: bytes in, commands in groups, replies when what they say is durable.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout},
};

use super::{
    commands::{self, MOST_NAME, Outcome, WRONGTYPE, upper},
    crowd::{Owed, Seat},
    gate::{Gate, Place, Step},
    reply::{Part, Replies, put_bulk},
    session::{Login, Session},
};
use crate::log::{ElementsFrame, Locked, Log, Sealed, Ticket};

/// A command that has begun must be there after this time, and a stranger must have given its password.
const PATIENCE: Duration = Duration::from_secs(30);
/// A client that does not read its replies for so long is gone.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// What a wrong password costs.
const WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// Wrong passwords of one connection.
const MOST_WRONG: u32 = 3;
/// Commands, and bytes of them, that are carried out at once.
const GROUP: usize = 4096;
const GROUP_BYTES: usize = 1 << 20;
/// Frames of elements are cut here.
const FRAME_BYTES: usize = 128 << 10;
/// Groups whose replies wait for the disk or for the client.
const GROUPS_WAITING: usize = 16;
/// Bytes of elements that are read for a reply at once.
const ROWS_BYTES: usize = 512 << 10;
/// A buffer that was grown for a large command is given back above this.
const KEEP: usize = 256 << 10;
const READ: usize = 64 << 10;
/// Bytes of replies that may be on their way to one client; a single larger one goes alone.
const REPLIES: usize = 1 << 20;

/// Something that a group does.
enum Work {
    /// Consecutive RPUSH commands to one list, with the elements of each.
    Push(ElementsFrame, Vec<u32>),
    Command(Vec<Bytes>),
}

/// The same, with everything done that needs no lock.
enum Ready {
    Push(Sealed, Vec<u32>),
    Command(Vec<Bytes>),
}

impl From<Work> for Ready {
    fn from(work: Work) -> Self {
        match work {
            Work::Push(frame, counts) => Ready::Push(frame.finish(), counts),
            Work::Command(arguments) => Ready::Command(arguments),
        }
    }
}

/// Replies that belong together, and what they take of everybody's memory and of the client's own share.
struct Answer {
    ticket: Ticket,
    parts: Vec<Part>,
    _owed: Owed,
    _share: Option<OwnedSemaphorePermit>,
}

/// Why reading ends.
enum End {
    Gone,
    /// This is still to be said.
    Said(String),
}

struct Reader<R> {
    stream: R,
    buffer: BytesMut,
    gate: Gate,
    session: Session,
    seat: Arc<Seat>,
    store: Arc<Log>,
    replies: mpsc::Sender<Answer>,
    /// What may be on its way to the client at a time.
    budget: Arc<Semaphore>,
    /// Since when it has not given its password.
    stranger_since: Instant,
    /// Follows MULTI and EXEC while commands are read, before they are carried out.
    collects: bool,
    wrong: u32,
    since: Instant,
}

/// Serves a client until it goes, or has to.
pub(super) async fn serve<S>(stream: S, session: Session, seat: Seat, store: Arc<Log>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (read, write) = tokio::io::split(stream);
    let (replies, waiting) = mpsc::channel(GROUPS_WAITING);
    let kick = seat.kick.clone();
    let seat = Arc::new(seat);
    let reader = Reader {
        stream: read,
        buffer: BytesMut::new(),
        gate: Gate::default(),
        session,
        stranger_since: seat.since,
        seat,
        store: store.clone(),
        replies,
        budget: Arc::new(Semaphore::new(REPLIES)),
        collects: false,
        wrong: 0,
        since: Instant::now(),
    };
    // When reading ends, what has been done is still answered; when answering ends, nothing more is read.
    let talk = async {
        let mut answering = std::pin::pin!(answer(write, waiting, store));
        tokio::select! {
            () = reader.run() => answering.await,
            () = &mut answering => {}
        }
    };
    tokio::select! {
        () = talk => {}
        () = kick.cancelled() => {}
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(()) => {}
                Err(End::Gone) => return,
                Err(End::Said(text)) => {
                    let mut replies = Replies::new(self.session.resp3);
                    replies.error(&text);
                    drop(self.send(Ticket::default(), replies).await);
                    return;
                }
            }
        }
    }

    /// Reads commands as far as they are there, carries them out, then waits for more bytes.
    async fn step(&mut self) -> Result<(), End> {
        let (work, login, end) = self.group();
        if !work.is_empty() || login.is_some() {
            // What is begun now has its time from now.
            self.since = Instant::now();
        }
        if !work.is_empty() {
            let was_known = self.session.authenticated;
            let closes = self.carry_out(work).await?;
            if closes {
                return Err(End::Gone);
            }
            if was_known && !self.session.authenticated {
                self.stranger_since = Instant::now();
            }
            self.seat.holds(self.held());
            // What a transaction has become is known now.
            self.collects = self.session.collects();
            if login.is_none() && end.is_none() {
                return Ok(());
            }
        }
        if let Some(arguments) = login {
            return self.log_in(&arguments).await;
        }
        if let Some(end) = end {
            return Err(end);
        }
        self.more().await
    }

    /// The commands that are there, up to a login, and what is wrong with what follows.
    fn group(&mut self) -> (Vec<Work>, Option<Vec<Bytes>>, Option<End>) {
        let mut group = Vec::new();
        let (mut commands, mut bytes) = (0, 0);
        while commands < GROUP && bytes < GROUP_BYTES {
            let max = self.session.settings.max_command;
            let len = match self.gate.look(&self.buffer, max, !self.session.authenticated) {
                Step::More => break,
                Step::Nothing(len) => {
                    self.buffer.advance(len);
                    continue;
                }
                Step::Command(len) => len,
                Step::Violation(text) => return (group, None, Some(End::Said(text))),
            };
            let whole = self.buffer.get(..len).unwrap_or_default();
            if is_http(whole, self.gate.arguments()) {
                self.seat.warn_of_http();
                return (group, None, Some(End::Gone));
            }
            commands += 1;
            bytes += len;
            if self.session.authenticated && !self.collects && collect(whole, self.gate.arguments(), &mut group) {
                self.buffer.advance(len);
                continue;
            }
            let whole = self.buffer.split_to(len).freeze();
            let part = |(from, to): &Place| whole.slice(*from as usize..*to as usize);
            let list: Vec<Bytes> = self.gate.arguments().iter().map(part).collect();
            match upper(list.first()).as_str() {
                "" => continue,
                "AUTH" | "HELLO" if !self.collects => return (group, Some(list), None),
                "MULTI" => self.collects = true,
                "EXEC" | "DISCARD" | "RESET" => self.collects = false,
                _ => {}
            }
            group.push(Work::Command(list));
        }
        (group, None, None)
    }

    /// `true`: the client has said that it goes.
    async fn carry_out(&mut self, group: Vec<Work>) -> Result<bool, End> {
        self.store.room().await;
        let mut ready = group.into_iter().map(Ready::from).peekable();
        // What the client has not taken yet is bounded: the rest of the group waits for it, without the lock.
        while ready.peek().is_some() {
            let mut replies = Replies::new(self.session.resp3);
            let session = &mut self.session;
            let (closes, ticket) = self.store.with(|locked| {
                while replies.size() < REPLIES / 4
                    && let Some(work) = ready.next()
                {
                    match work {
                        Ready::Push(elements, counts) => push(locked, elements, &counts, &mut replies),
                        Ready::Command(arguments) => {
                            if session.run(locked, arguments, &mut replies) == Outcome::Close {
                                return true;
                            }
                        }
                    }
                }
                false
            });
            self.send(ticket, replies).await?;
            if closes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn send(&self, ticket: Ticket, replies: Replies) -> Result<(), End> {
        let size = replies.size();
        let owed = self.seat.owes(size);
        let share = self.budget.clone().acquire_many_owned(size.min(REPLIES) as u32).await;
        let answer = Answer {
            ticket,
            parts: replies.finish(),
            _owed: owed,
            _share: share.ok(),
        };
        self.replies.send(answer).await.map_err(|_| End::Gone)
    }

    async fn log_in(&mut self, arguments: &[Bytes]) -> Result<(), End> {
        let mut replies = Replies::new(self.session.resp3);
        let login = self.session.login(arguments, &mut replies);
        if login == Login::Wrong {
            self.wrong += 1;
            tokio::time::sleep(WRONG_PASSWORD).await;
        }
        self.send(Ticket::default(), replies).await?;
        match self.wrong {
            0..MOST_WRONG => Ok(()),
            _ => Err(End::Gone),
        }
    }

    /// Waits for more bytes.
    async fn more(&mut self) -> Result<(), End> {
        if self.buffer.is_empty() {
            if self.buffer.capacity() > KEEP {
                self.buffer = BytesMut::new();
            }
            self.since = Instant::now();
        }
        let settings = &self.session.settings;
        let known = self.session.authenticated;
        let (patience, since) = match known && self.buffer.is_empty() {
            true => (settings.idle_timeout, self.since),
            false if known => (PATIENCE, self.since),
            // Whatever it sends in the meantime.
            false => (PATIENCE, self.stranger_since),
        };
        if !known && since.elapsed() >= patience {
            return Err(End::Gone);
        }
        // Memory follows what has come, never what was announced.
        self.buffer.reserve(READ);
        let read = timeout(
            patience.saturating_sub(since.elapsed()),
            self.stream.read_buf(&mut self.buffer),
        );
        match read.await {
            Ok(Ok(1..)) => {}
            Ok(_) | Err(_) => return Err(End::Gone),
        }
        self.seat.holds(self.held());
        Ok(())
    }

    /// Bytes that are kept for this client.
    fn held(&self) -> usize {
        self.buffer.capacity() + self.gate.held() + self.session.queued()
    }
}

/// Whether this is a request of HTTP: its first line, or one of its headers. A browser can be made to send such to any
/// port, with commands in the body, so nothing of it is answered or carried out.
fn is_http(whole: &[u8], places: &[Place]) -> bool {
    const METHODS: [&[u8]; 8] = [
        b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE",
    ];
    let part = |(from, to): &Place| whole.get(*from as usize..*to as usize).unwrap_or_default();
    let (Some(name), Some(last)) = (places.first().map(part), places.last().map(part)) else {
        return false;
    };
    let known = |method: &&[u8]| name.eq_ignore_ascii_case(method);
    let inline = whole.first() != Some(&b'*');
    METHODS.iter().any(known)
        || name.eq_ignore_ascii_case(b"host:")
        || (inline && (name.ends_with(b":") || last.starts_with(b"HTTP/")))
}

/// Adds an RPUSH to the group. `false`: it is something else, or not as it should be.
fn collect(whole: &[u8], places: &[Place], group: &mut Vec<Work>) -> bool {
    let [name, list, elements @ ..] = places else {
        return false;
    };
    let part = |(from, to): &Place| whole.get(*from as usize..*to as usize).unwrap_or_default();
    if !part(name).eq_ignore_ascii_case(b"rpush") || elements.is_empty() {
        return false;
    }
    let Some(list) = std::str::from_utf8(part(list))
        .ok()
        .filter(|list| list.len() <= MOST_NAME)
    else {
        return false;
    };
    let joins = matches!(group.last(), Some(Work::Push(frame, _)) if frame.list() == list && frame.len() + whole.len() <= FRAME_BYTES);
    if !joins {
        let room = whole
            .len()
            .max(if group.is_empty() { 4 << 10 } else { FRAME_BYTES / 2 });
        group.push(Work::Push(ElementsFrame::new(list, room), Vec::new()));
    }
    let Some(Work::Push(frame, counts)) = group.last_mut() else {
        return false;
    };
    elements.iter().for_each(|element| frame.push(part(element)));
    counts.push(elements.len() as u32);
    true
}

fn push(locked: &mut Locked<'_>, elements: Sealed, counts: &[u32], replies: &mut Replies) {
    let total = u64::from(elements.count());
    let error = if commands::is_string(locked, elements.list()) {
        WRONGTYPE.to_owned()
    } else {
        match locked.push(elements) {
            Ok(len) => {
                let mut now = len - total;
                for count in counts {
                    now += u64::from(*count);
                    replies.integer(now as i64);
                }
                return;
            }
            Err(refusal) => commands::refusal(&refusal),
        }
    };
    counts.iter().for_each(|_| replies.error(&error));
}

/// Sends replies, each when everything that it says is durable.
async fn answer<W: AsyncWrite + Unpin>(mut stream: W, mut waiting: mpsc::Receiver<Answer>, store: Arc<Log>) {
    while let Some(answer) = waiting.recv().await {
        let mut ticket = answer.ticket;
        let mut together = vec![answer];
        // Replies that are there already go with it.
        while let Ok(more) = waiting.try_recv() {
            ticket = ticket.max(more.ticket);
            together.push(more);
        }
        if !store.durable(ticket).await {
            return;
        }
        let parts = together
            .iter_mut()
            .flat_map(|answer| std::mem::take(&mut answer.parts))
            .collect();
        if write(&mut stream, parts, &store).await.is_none() {
            return;
        }
    }
    drop(timeout(WRITE_PATIENCE, stream.shutdown()).await);
}

/// `None`: the client is gone, or what it asked for cannot be read.
async fn write<W: AsyncWrite + Unpin>(stream: &mut W, parts: Vec<Part>, store: &Arc<Log>) -> Option<()> {
    let mut bytes = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(more) => bytes.extend_from_slice(&more),
            Part::Names(names) => {
                let rendered = tokio::task::spawn_blocking(move || names.render()).await.ok()?;
                bytes.extend_from_slice(&rendered);
                send(stream, &mut bytes).await?;
            }
            Part::Rows(mut rows) => {
                while rows.len() > 0 {
                    let owner = store.clone();
                    let read = tokio::task::spawn_blocking(move || {
                        let gathered = owner.read(&mut rows, ROWS_BYTES);
                        (rows, gathered)
                    });
                    let (rest, gathered) = read.await.ok()?;
                    rows = rest;
                    let gathered = gathered.ok()?;
                    gathered
                        .spans
                        .iter()
                        .for_each(|span| put_bulk(&mut bytes, span.of(&gathered.buffer)));
                    send(stream, &mut bytes).await?;
                }
            }
        }
    }
    send(stream, &mut bytes).await
}

async fn send<W: AsyncWrite + Unpin>(stream: &mut W, bytes: &mut Vec<u8>) -> Option<()> {
    for part in bytes.chunks(READ) {
        timeout(WRITE_PATIENCE, stream.write_all(part)).await.ok()?.ok()?;
    }
    bytes.clear();
    timeout(WRITE_PATIENCE, stream.flush()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fsync;

    #[tokio::test]
    async fn rows_that_cannot_be_read_just_now_are_still_there_afterwards() {
        let folder = tempfile::TempDir::new().unwrap();
        let log = Log::open(folder.path(), Fsync::Never, 1 << 30).unwrap();
        let mut frame = ElementsFrame::new("list", 0);
        frame.push(b"row");
        let (pushed, ticket) = log.with(|locked| locked.push(frame.finish()));
        pushed.unwrap();
        assert!(log.durable(ticket).await);
        let rows = || log.with(|locked| locked.rows("list", 0, 1)).0;
        let mut sent = Vec::new();
        let unreadable = Part::Rows(rows().unreadable().unwrap());
        assert_eq!(write(&mut sent, vec![unreadable], &log).await, None);
        assert_eq!(sent, b"");
        let (known, _) = log.with(|locked| (locked.state().len("list"), locked.facts().damaged));
        assert_eq!(known, (1, 0), "rows, and damaged parts");
        write(&mut sent, vec![Part::Rows(rows())], &log).await.unwrap();
        assert_eq!(sent, b"$3\r\nrow\r\n");
        log.close().await;
    }
}
