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
    let port = free_port();
    let folder = repository().join(format!("target/test-stack/{port}"));
    std::fs::create_dir_all(&folder).expect("a folder for MiniStack");
    let log = std::fs::File::create(folder.join("ministack.log")).expect("a log for MiniStack");
    let child = Command::new("python3")
        .arg(repository().join("tests/tools/tether.py"))
        .arg(tool("ministack"))
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_HOST", "127.0.0.1")
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .env("PERSIST_STATE", "0")
        .env("TMPDIR", &folder)
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("the log"))
        .stderr(log)
        .spawn()
        .expect("python3 starts");
    let stack = Stack {
        endpoint: format!("http://127.0.0.1:{port}"),
        _child: child,
    };
    wait_until_open(port, &folder);
    stack
}

fn wait_until_open(port: u16, folder: &Path) {
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "MiniStack does not start: see {}/ministack.log",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(25));
    }
}
