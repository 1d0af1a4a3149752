//! One MiniStack for the whole test process, in memory, on a free port. Each test gets an AWS account of its own in
//! it (a 12-digit access key), so tests share nothing and run side by side.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The repository's top folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
        .to_owned()
}

/// A tool of `make setup`; CAMARAD_TOOLS may name another folder.
pub fn tool(name: &str) -> PathBuf {
    let folder = std::env::var_os("CAMARAD_TOOLS").map_or_else(|| repository().join(".tools"), PathBuf::from);
    let path = folder.join("bin").join(name);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// The running MiniStack.
pub struct Stack {
    /// `http://127.0.0.1:<port>`
    pub endpoint: String,
    /// What it prints, and what the functions print that run in it.
    pub log: PathBuf,
    _child: Child, // its standard input is the tether: it closes when this process ends, however it ends
}

static STACK: OnceLock<Stack> = OnceLock::new();
static ACCOUNTS: AtomicU64 = AtomicU64::new(100_000_000_001);

/// The process's MiniStack, started by the first test that asks.
pub fn stack() -> &'static Stack {
    STACK.get_or_init(start)
}

/// An AWS account id that no other test of this process uses.
pub fn fresh_account() -> String {
    ACCOUNTS.fetch_add(1, Ordering::Relaxed).to_string()
}

fn start() -> Stack {
    launch("ministack", &[])
}

/// Another MiniStack, with more settings in its environment. `name` is that of its folder under target/test-stack.
pub fn launch(name: &str, settings: &[(&str, &str)]) -> Stack {
    let port = free_port();
    let folder = repository().join(format!("target/test-stack/{name}-{port}"));
    let scratch = folder.join("tmp");
    std::fs::create_dir_all(&scratch).expect("a folder for MiniStack");
    let log = folder.join("ministack.log");
    let child = tethered(&scratch, &tool("ministack"), &log)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_HOST", "127.0.0.1")
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("PERSIST_STATE", "0")
        .env("TMPDIR", &scratch)
        .envs(settings.iter().copied())
        .current_dir(&folder)
        .spawn()
        .expect("python3 starts");
    let stack = Stack {
        endpoint: format!("http://127.0.0.1:{port}"),
        log,
        _child: child,
    };
    wait_until_open(port, &stack.log);
    stack
}

/// A command that ends with this process, however that ends, and whose temporary folder is removed then. What it
/// prints goes into `log`. Nothing of a real account that the shell may know is passed on, nor of cargo's own variables.
pub fn tethered(scratch: &Path, program: &Path, log: &Path) -> Command {
    let log = std::fs::File::create(log).expect("a log");
    let mut command = Command::new("python3");
    command
        .arg(repository().join("tests/tools/tether.py"))
        .args([scratch, program])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("the log"))
        .stderr(log)
        .env("NO_PROXY", "127.0.0.1,localhost");
    let private = [
        "AWS_",
        "OPENAI_",
        "ANTHROPIC_",
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
    ];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if private.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name.as_ref());
        }
    }
    command
}

fn wait_until_open(port: u16, log: &Path) {
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "MiniStack does not start: see {}",
            log.display()
        );
        std::thread::sleep(Duration::from_millis(25));
    }
}
