//! The peer: PostgreSQL with pgBackRest, as Debian has them. A full backup with encryption, archived log, and a restore to a time.
//!
//! Both are told to do as well as they can on one machine: two processes, lz4, log archived as it fills. The server refuses to be root's, so
//! a run as root has it as `postgres`.

use super::ours::value;
use super::plan::CHANGED;
use crate::Outcome;
use crate::clock::Stopwatch;
use crate::engine::workload::{key, mix};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian has the server, by version.
const SERVERS: &str = "/usr/lib/postgresql";
/// What the repository is encrypted with here.
const PASSPHRASE: &str = "only of this measurement";
/// Rows between two writes to the server's input.
const ROWS_AT_ONCE: u64 = 1_000;

/// A server and its repository.
pub struct Postgres {
    bin: PathBuf,
    folder: PathBuf,
    is_root: bool,
}

/// The folder of the newest server, if it and pgBackRest are installed.
#[must_use]
pub fn installed() -> Option<PathBuf> {
    Command::new("pgbackrest")
        .arg("version")
        .stdout(Stdio::null())
        .status()
        .ok()
        .filter(|it| it.success())?;
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(SERVERS).ok()?.filter_map(|one| Some(one.ok()?.path())).collect();
    all.sort_unstable();
    Some(all.pop()?.join("bin")).filter(|bin| bin.join("initdb").exists())
}

impl Postgres {
    /// Makes one that is empty, and starts it.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(bin: PathBuf, folder: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(folder.join("repository"))?;
        let is_root = rustix::process::geteuid().is_root();
        let it = Self { bin, folder: folder.to_owned(), is_root };
        if is_root {
            done(Command::new("chown").args(["-R", "postgres"]).arg(folder))?;
        }
        it.as_owner("initdb", &["-D", &it.text("data"), "-A", "trust", "-U", "postgres"])?;
        let (socket, config) = (it.folder.display(), it.text("pgbackrest.conf"));
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{socket}'\nport = 5499\nshared_buffers = 256MB\nmax_wal_size = 4GB\n\
             archive_mode = on\narchive_command = 'pgbackrest --config={config} --stanza=main archive-push %p'\n"
        );
        it.put("data/postgresql.auto.conf", &settings)?;
        it.put(
            "pgbackrest.conf",
            &format!(
                "[global]\nrepo1-path={socket}/repository\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass={PASSPHRASE}\n\
                 log-path={socket}/log\nlock-path={socket}/lock\nspool-path={socket}/spool\ncompress-type=lz4\nprocess-max=2\n\
                 start-fast=y\nlog-level-console=error\nlog-level-file=off\n\n\
                 [main]\npg1-path={socket}/data\npg1-socket-path={socket}\npg1-port=5499\npg1-user=postgres\n"
            ),
        )?;
        it.control("start")?;
        it.backrest(&["stanza-create"])?;
        Ok(it)
    }

    fn text(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn put(&self, name: &str, text: &str) -> Outcome<()> {
        std::fs::write(self.folder.join(name), text)?;
        if self.is_root {
            done(Command::new("chown").arg("postgres").arg(self.folder.join(name)))
        } else {
            Ok(())
        }
    }

    /// A command of the one who owns the server.
    fn owners(&self, program: &Path) -> Command {
        let mut command = match self.is_root {
            true => Command::new("runuser"),
            false => Command::new(program),
        };
        if self.is_root {
            command.args(["-u", "postgres", "--"]).arg(program);
        }
        command.current_dir(&self.folder);
        command
    }

    fn as_owner(&self, program: &str, arguments: &[&str]) -> Outcome<()> {
        done(self.owners(&self.bin.join(program)).args(arguments))
    }

    fn control(&self, verb: &str) -> Outcome<()> {
        let (data, log) = (self.text("data"), self.text("server.log"));
        self.as_owner("pg_ctl", &["-D", &data, "-l", &log, "-w", "-t", "600", "-m", "immediate", verb])
    }

    fn backrest(&self, arguments: &[&str]) -> Outcome<()> {
        let config = format!("--config={}", self.text("pgbackrest.conf"));
        done(self.owners(Path::new("pgbackrest")).args([&config, "--stanza=main"]).args(arguments))
    }

    fn ask(&self, sql: &str) -> Outcome<String> {
        let mut command = self.owners(&self.bin.join("psql"));
        command.args([
            "-h",
            &self.folder.display().to_string(),
            "-p",
            "5499",
            "-U",
            "postgres",
            "-qAtc",
            sql,
        ]);
        let output = command.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?.trim().to_owned()),
            false => Err(format!("{sql}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
        }
    }

    /// Writes rows: all of them, or in a later `generation` one in [`CHANGED`].
    ///
    /// # Errors
    /// The server does not take them.
    pub fn write(&self, rows: u64, generation: u64) -> Outcome<()> {
        let sql = match generation {
            0 => "create table records (key text primary key, value bytea not null); copy records from stdin",
            _ => {
                "create temp table changed (key text, value bytea); copy changed from stdin; \
                 update records set value = changed.value from changed where records.key = changed.key"
            }
        };
        let mut command = self.owners(&self.bin.join("psql"));
        command.args(["-h", &self.folder.display().to_string(), "-p", "5499", "-U", "postgres", "-q"]);
        for one in sql.split("; ") {
            command.args(["-c", one]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut input = child.stdin.take().ok_or("psql has no input")?;
        let mut text = String::new();
        for number in 0..rows {
            if generation == 0 || mix(number).is_multiple_of(CHANGED) {
                text.push_str(std::str::from_utf8(&key(number))?);
                text.push_str("\t\\\\x");
                for byte in value(number, generation).iter() {
                    write!(text, "{byte:02x}")?;
                }
                text.push('\n');
            }
            if number % ROWS_AT_ONCE == 0 {
                input.write_all(text.as_bytes())?;
                text.clear();
            }
        }
        input.write_all(text.as_bytes())?;
        drop(input);
        if child.wait()?.success() { Ok(()) } else { Err("psql has not loaded the rows".into()) }
    }

    /// Takes a full backup. Returns seconds.
    ///
    /// # Errors
    /// It fails.
    pub fn back_up(&self) -> Outcome<f64> {
        let watch = Stopwatch::start();
        self.backrest(&["--type=full", "backup"])?;
        Ok(watch.seconds())
    }

    /// The time that is restored to, behind everything written so far; all log up to there is archived.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn target(&self) -> Outcome<String> {
        let target = self.ask("select clock_timestamp()")?;
        // Recovery to a time ends at the first commit behind it.
        self.ask("create table behind (a int)")?;
        self.ask("select pg_switch_wal()")?;
        self.backrest(&["check"])?;
        Ok(target)
    }

    /// Loses the server with all its data.
    ///
    /// # Errors
    /// The system does not.
    pub fn lose(&self) -> Outcome<()> {
        self.control("stop")?;
        Ok(std::fs::remove_dir_all(self.folder.join("data"))?)
    }

    /// Restores to a time, and waits until writes are taken. Returns seconds, and how many rows there are.
    ///
    /// # Errors
    /// It fails.
    pub fn come_back(&self, target: &str) -> Outcome<(f64, u64)> {
        let watch = Stopwatch::start();
        let target = format!("--target={target}");
        self.backrest(&["--type=time", &target, "--target-action=promote", "restore"])?;
        self.control("start")?;
        while self.ask("select pg_is_in_recovery()")? != "f" {
            crate::clock::rest(20);
        }
        let seconds = watch.seconds();
        Ok((seconds, self.ask("select count(*) from records")?.parse()?))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // One that was stopped before cannot be stopped again, which is as well.
        let _ = self.control("stop");
    }
}

fn done(command: &mut Command) -> Outcome<()> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}
