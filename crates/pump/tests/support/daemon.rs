//! The pump's binary as operators run it: a configuration file, a log, signals, its admin port.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Server, free_ports};

/// A folder with a configuration, in which pumps are started one after the other.
pub struct Site {
    folder: TempDir,
    port: u16,
    redis: Option<u16>,
    conf: Value,
}

impl Site {
    /// A configuration that drains `redis` into `pumps`. `@/` in a text stands for this site's folder.
    pub fn new(redis: &Server, pumps: Value) -> Site {
        let port = free_ports(1, &[]);
        let conf = json!({
            "analytics_storage_type": "redis",
            "analytics_storage_config": {"type": "redis", "host": "127.0.0.1", "port": redis.port},
            "purge_delay": 1,
            "dont_purge_uptime_data": true,
            "health_check_endpoint_port": port,
            // A crash that waits for the lease fails its test.
            "delivery": {"instance_id": format!("site-{port}"), "lease": "600s"},
            "pumps": pumps,
        });
        let mut site = Site {
            folder: TempDir::new().unwrap(),
            port,
            redis: Some(redis.port),
            conf,
        };
        site.store();
        site
    }

    /// A configuration in which gateways push to the pump itself; `store` has further settings of its store.
    pub fn embedded(store: Value, pumps: Value) -> Site {
        let port = free_ports(2, &[]);
        let mut settings = json!({"listen": format!("127.0.0.1:{}", port + 1), "dir": "@/store"});
        for (key, value) in store.as_object().unwrap() {
            settings[key] = value.clone();
        }
        let mut site = Site {
            folder: TempDir::new().unwrap(),
            port,
            redis: None,
            conf: json!({
                "analytics_storage_type": "embedded",
                "embedded_storage": settings,
                "purge_delay": 1,
                "dont_purge_uptime_data": true,
                "health_check_endpoint_port": port,
                "delivery": {},
                "pumps": pumps,
            }),
        };
        site.store();
        site
    }

    /// Port of the Redis of [`Site::new`].
    pub fn redis_port(&self) -> Option<u16> {
        self.redis
    }

    /// Port of the store of [`Site::embedded`].
    pub fn store_port(&self) -> u16 {
        self.port + 1
    }

    /// Changes the configuration for later starts.
    pub fn configure(mut self, pointer: &str, value: Value) -> Site {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = self.conf.pointer_mut(parent).unwrap();
        parent[name] = value;
        self.store();
        self
    }

    fn store(&mut self) {
        let text = self
            .conf
            .to_string()
            .replace("@/", &format!("{}/", self.folder.path().display()));
        fs::write(self.path("pump.conf"), text).unwrap();
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        // Another build, for runs at full size.
        let bin = std::env::var("PUMP_TEST_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tyk-pump").to_owned());
        let mut command = Command::new(bin);
        command.env_clear().env("TZ", "UTC").current_dir(self.folder.path());
        command
    }

    /// Starts the daemon; its log and stdout are appended to those of earlier ones.
    pub fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// The same, and waits until it delivers.
    pub fn start_ready(&self) -> Daemon {
        let daemon = self.start();
        self.wait_until_ready();
        daemon
    }

    /// Waits until source and pumps are well.
    pub fn wait_until_ready(&self) {
        self.wait("ready", 20, || self.get("/readyz").filter(|(code, _)| *code == 200));
    }

    /// The same as [`Site::start`], with environment variables.
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Daemon {
        let mut command = self.command();
        command.envs(environment.iter().copied());
        self.spawn(command, self.output_file("stdout"), self.log_file())
    }

    /// The same with outputs of the caller's choice. A pipe is never read.
    pub fn start_piped(&self, stdout: Stdio, stderr: Stdio) -> Daemon {
        self.spawn(self.command(), stdout, stderr)
    }

    /// The same for a daemon that may have no more descriptors than these.
    pub fn start_with_descriptors(&self, most: u32) -> Daemon {
        let mut command = Command::new("sh");
        let program = self.command();
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        command.env_clear().env("TZ", "UTC").current_dir(self.folder.path());
        command.args(["-c", &limited]).arg(program.get_program());
        self.spawn(command, self.output_file("stdout"), self.log_file())
    }

    /// The file that the log is appended to.
    pub fn log_file(&self) -> Stdio {
        self.output_file("log")
    }

    fn output_file(&self, name: &str) -> Stdio {
        let mut options = OpenOptions::new();
        let file: File = options.create(true).append(true).open(self.path(name)).unwrap();
        file.into()
    }

    fn spawn(&self, mut command: Command, stdout: Stdio, stderr: Stdio) -> Daemon {
        command
            .arg("-c")
            .arg(self.path("pump.conf"))
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr);
        Daemon {
            child: command.spawn().unwrap(),
        }
    }

    /// Port of the admin pages.
    pub fn admin_port(&self) -> u16 {
        self.port
    }

    /// Runs a subcommand, e.g. `claims list --json`.
    pub fn operate(&self, words: &str) -> Output {
        let mut command = self.command();
        command.args(words.split(' ')).arg("-c").arg(self.path("pump.conf"));
        command.output().unwrap()
    }

    /// The lines that a subcommand writes; fails when it does.
    pub fn operate_json(&self, words: &str) -> Vec<Value> {
        let output = self.operate(words);
        assert!(output.status.success(), "{words}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The log of all daemons so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Status code and body of a page of the admin server; `None` while nobody answers.
    pub fn get(&self, page: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {page} HTTP/1.1\r\nHost: pump\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let code = head.split(' ').nth(1)?.parse().ok()?;
        Some((code, body.to_owned()))
    }

    /// `/status`, and in it one pump.
    pub fn status(&self, pump: &str) -> Option<(Value, Value)> {
        let (_, body) = self.get("/status")?;
        let status: Value = serde_json::from_str(&body).ok()?;
        let pump = status["pumps"].as_array()?.iter().find(|entry| entry["pump"] == pump)?;
        Some((status.clone(), pump.clone()))
    }

    /// Polls until there is an answer; fails with the log after `seconds`.
    pub fn wait<T>(&self, what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() > deadline {
                let log = self.log();
                let lines: Vec<&str> = log.lines().collect();
                let last = lines[lines.len().saturating_sub(40)..].join("\n");
                let status = self.get("/status").map(|(_, body)| body).unwrap_or_default();
                panic!("{what}: not within {seconds} s\n{last}\n{status}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until no list of records and no claim is left.
    pub fn wait_until_drained(&self, redis: &Server, seconds: u64) {
        let mut client = redis.client(0, "");
        self.wait("everything delivered", seconds, || {
            left(&mut client).is_empty().then_some(())
        });
    }
}

/// Keys that hold records: lists of gateways, and claims with all that belongs to them.
pub fn left(client: &mut redis::Connection) -> Vec<String> {
    let all: Vec<String> = redis::cmd("KEYS").arg("*").query(client).unwrap();
    all.into_iter()
        .filter(|key| key.starts_with("analytics-tyk-system-analytics") || key.starts_with("analytics-claim"))
        .collect()
}

/// The rows of every CSV file of a directory, as lines without the header.
pub fn csv_rows(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let bytes = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        rows.extend(text.lines().skip(1).map(str::to_owned));
    }
    rows
}

/// A running pump; killed when it is dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Its exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Whether it has ended by SIGKILL.
    pub fn was_killed(&mut self) -> bool {
        self.ended().is_some_and(|status| status.signal() == Some(9))
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// Descriptors that it has open.
    pub fn open_descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// CPU time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // Linux counts them in hundredths of a second on every architecture that matters.
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
