//! A desk: a folder, a node, and `dew` with contexts of its own.

use node::double::Double;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

pub struct Desk {
    folder: TempDir,
    double: Double,
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A word without what is new every time.
fn plain(word: &str, endpoint: &str) -> String {
    let is_stamp = word.split_once('.').is_some_and(|(ms, counter)| {
        ms.len() == 13 && [ms, counter].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let is_tenant = word
        .strip_prefix("t-")
        .is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match word {
        _ if is_stamp => "STAMP".to_owned(),
        _ if is_tenant => "TENANT".to_owned(),
        _ if word.strip_prefix("c-").is_some_and(|id| id.len() > 17 && id.as_bytes()[16] == b'-') => {
            "COMMIT".to_owned()
        }
        _ if word == endpoint => "ENDPOINT".to_owned(),
        _ => word.to_owned(),
    }
}

impl Desk {
    pub async fn start() -> Self {
        let double = Double::start().await.unwrap();
        let desk = Self { folder: tempfile::tempdir().unwrap(), double };
        desk.write("ca.crt", desk.double.authority());
        desk.write("admin.crt", desk.double.admin_certificate());
        desk.write("admin.key", std::str::from_utf8(desk.double.admin_key()).unwrap());
        desk.dew("context add admin --endpoint ENDPOINT --admin-endpoint ADMIN --ca ca.crt --certificate admin.crt --key admin.key");
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that nobody else may read.
    pub fn write(&self, name: &str, bytes: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(self.at(name), bytes).unwrap();
        std::fs::set_permissions(self.at(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A tenant, and its service as the current context.
    pub fn tenant(&self, name: &str) {
        self.dew(&format!("tenant create {name}"));
        self.dew(&format!("identity issue --service-of {name} --folder {name}"));
        let files = format!("--ca {name}/ca.crt --certificate {name}/{name}.crt --key {name}/{name}.key");
        self.dew(&format!("context add {name} --tenant {name} --endpoint ENDPOINT {files}"));
        self.dew(&format!("context use {name}"));
    }

    fn command(&self, line: &str) -> Command {
        let words = line.split(' ').filter(|_| !line.is_empty()).map(|word| match word {
            "ENDPOINT" => self.double.endpoint(),
            "ADMIN" => self.double.admin_endpoint(),
            other => other,
        });
        let mut command = Command::new(env!("CARGO_BIN_EXE_dew"));
        command.args(words).current_dir(self.folder.path()).env("DEW_CONFIG", self.at("dew.toml"));
        // Whoever runs the test may use the tool as well.
        command.env_remove("DEW_CONTEXT").env_remove("DEW_TENANT");
        command
    }

    /// Another program at this desk, that finds those of `folder`.
    pub fn shell(&self, program: &str, folder: &std::path::Path) -> Command {
        let mut command = Command::new(program);
        let path =
            std::env::vars().find(|(name, _)| name == "PATH").map(|(_, path)| path).unwrap_or_default();
        command.current_dir(self.folder.path()).env("DEW_CONFIG", self.at("dew.toml"));
        command.env("PATH", format!("{}:{path}", folder.display())).env_remove("DEW_CONTEXT");
        command
    }

    /// Text with names for what this desk alone has.
    pub fn named(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        text.replace(self.double.endpoint(), "ENDPOINT")
            .replace(self.double.admin_endpoint(), "ADMIN")
            .replace(&folder, "FOLDER")
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Begins it, and does not wait.
    pub fn begin(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Lines that an import has written, as its file of progress says.
    pub fn lines_done(&self, progress: &str) -> u64 {
        let text = std::fs::read(self.at(progress)).unwrap_or_default();
        let progress: Value = serde_json::from_slice(&text).unwrap_or_default();
        progress["lines"].as_u64().unwrap_or(0)
    }

    /// What it prints when it succeeds. Nothing of it goes to the standard error.
    pub fn dew(&self, line: &str) -> String {
        let Output { status, stdout, stderr } = self.run(line);
        assert!(status.success() && stderr.is_empty(), "dew {line}: {status}\n{}", text(&stderr));
        text(&stdout)
    }

    pub fn json(&self, line: &str) -> Value {
        let document: Value = serde_json::from_str(&self.dew(line)).unwrap();
        assert!(document["schema"].as_str().is_some_and(|schema| schema.starts_with("dew.")), "{document}");
        document
    }

    /// It prints this, line by line, but for what is new every time; blanks between words do not count.
    pub fn says(&self, line: &str, wanted: &str) {
        let words = |text: &str| -> Vec<Vec<String>> {
            let plain = |line: &str| {
                line.split_whitespace().map(|word| plain(word, self.double.endpoint())).collect()
            };
            text.lines().map(plain).collect()
        };
        let said = self.dew(line);
        assert_eq!(words(&said), words(wanted), "dew {line}:\n{said}");
    }

    /// It exits so, prints nothing, and says why.
    pub fn fails(&self, wanted: i32, line: &str, why: &str) {
        let Output { status, stdout, stderr } = self.run(line);
        let (stdout, stderr) = (text(&stdout), text(&stderr));
        assert_eq!(status.code(), Some(wanted), "dew {line}\n{stdout}{stderr}");
        assert!(stdout.is_empty() && stderr.contains(why), "dew {line}: {stderr}");
    }

    pub async fn stop(self) {
        self.double.stop().await;
    }
}
