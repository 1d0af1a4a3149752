//! The offline verifier: what it proves of an export, and every kind of damage that it names.

use std::path::PathBuf;
use std::process::{Command, Output};

use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::store::{Cond, keys};
use camarad_tests::app::stack::repository;
use camarad_tests::app::{Client, TestApp};
use camarad_tests::chain::seal_all;
use camarad_tests::dice::{Dice, share};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::workspaces::workspace;

/// A folder of a test's own.
pub struct Files(PathBuf);

impl Files {
    pub fn new(name: &str) -> Self {
        let folder = repository().join(format!("target/test-stack/audit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn verifier(now: Timestamp, args: &[&str], files: &[PathBuf]) -> Output {
    let mut command = Command::new("node");
    command.arg(repository().join("infra/verify-audit.mjs"));
    command.args(["--now", &now.to_string()]).args(args).args(files);
    command.output().expect("node")
}

/// What the verifier says of one export: its exit status and its words.
pub fn verdict(t: &TestApp, args: &[&str], file: &PathBuf) -> (i32, String) {
    let out = verifier(t.app.clock().now(), args, std::slice::from_ref(file));
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
}

/// A workspace with a little history, sealed: the owner, its id.
pub async fn history(t: &TestApp) -> (Client, String) {
    let owner = t
        .sign_up("owner@example.com", Plan::Agency)
        .await
        .header("User-Agent", "Firefox/150");
    let home = workspace(&owner, "Home").await;
    let ben = t.join(&home, Role::Admin).await;
    for (who, name) in [
        (&owner, "Office"),
        (&ben, "Büro \u{2028}\"'\\"),
        (&owner, "=Attic"),
    ] {
        who.patch(&format!("/api/workspaces/{home}"), json!({"name": name}))
            .await
            .json(200);
    }
    let gone = keys::person_key(ben.user.unwrap());
    t.app.db().take(&gone, &Cond::item_exists()).await.unwrap();
    seal_all(t).await;
    (owner, home)
}

pub async fn export(client: &Client, workspace: &str, query: &str) -> String {
    let answer = client
        .get(&format!("/api/workspaces/{workspace}/audit-logs/export{query}"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

pub fn lines(export: &str) -> Vec<Value> {
    export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The lines as a file whose last line fits them: what a careful forger would do.
pub fn rewritten(lines: &[Value]) -> String {
    let mut text: String = lines[..lines.len() - 1]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    let sum = data_encoding::HEXLOWER.encode(&Sha256::digest(&text));
    text.push_str(&format!(
        "{}\n",
        json!({"type": "end", "lines": lines.len() - 1, "sha256": sum})
    ));
    text
}

#[tokio::test]
async fn an_export_is_proven_and_each_kind_of_damage_is_named() {
    let t = TestApp::new().await;
    let (owner, home) = history(&t).await;
    let whole = export(&owner, &home, "").await;
    let files = Files::new("damage");
    let (status, said) = verdict(&t, &[], &files.write("whole.ndjson", &whole));
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("4 records"), "{said}");
    let good = lines(&whole);
    let id = |n: usize| good[n]["id"].as_str().unwrap().to_owned();
    type Damage = fn(&mut Vec<Value>);
    let damages: [(&str, Damage, String); 16] = [
        (
            "changed",
            |l| l[2]["record"]["action"] = "workspace.deleted".into(),
            format!("record 2 ({}) was changed", id(2)),
        ),
        (
            "changed detail",
            |l| l[3]["record"]["detail"]["changed"][0] = "x".into(),
            "record 3".into(),
        ),
        (
            "changed field",
            |l| l[2]["record"]["more"] = 1.into(),
            "record 2".into(),
        ),
        (
            "changed seal",
            |l| l[2]["recordHash"] = l[3]["recordHash"].clone(),
            "record 2".into(),
        ),
        ("removed", |l| drop(l.remove(2)), "record 2 is missing".into()),
        (
            "two removed",
            |l| drop(l.drain(2..4)),
            "records 2 to 3 are missing".into(),
        ),
        (
            "removed first",
            |l| drop(l.remove(1)),
            "record 1 is missing".into(),
        ),
        (
            "removed last",
            |l| drop(l.remove(4)),
            "records 4 to 4 are missing at the end".into(),
        ),
        ("reordered", |l| l.swap(2, 3), "record 2".into()),
        ("inserted twice", |l| l.insert(3, l[2].clone()), "record 2".into()),
        (
            "inserted after",
            |l| l.insert(6, l[2].clone()),
            "comes after the head".into(),
        ),
        (
            "address changed",
            |l| l[1]["personal"]["ip"] = "198.51.100.1".into(),
            "record 1".into(),
        ),
        (
            "address removed",
            |l| drop(l[1].as_object_mut().unwrap().remove("personal")),
            "record 1".into(),
        ),
        (
            "head changed",
            |l| l[5]["seq"] = 3.into(),
            "the head is not signed".into(),
        ),
        (
            "head removed",
            |l| drop(l.remove(5)),
            "the head is missing".into(),
        ),
        (
            "another log",
            |l| l[0]["scope"] = "platform".into(),
            "another log".into(),
        ),
    ];
    for (name, damage, named) in damages {
        let mut bad = good.clone();
        damage(&mut bad);
        let (status, said) = verdict(&t, &[], &files.write("bad.ndjson", &rewritten(&bad)));
        assert_eq!(status, 1, "{name}: {said}");
        assert!(said.contains(&named), "{name}: {said}");
    }
    for cut in [whole.len() - 1, whole.len() - 40, whole.len() / 2, 10, 0] {
        let (status, said) = verdict(&t, &[], &files.write("cut.ndjson", &whole[..floor(&whole, cut)]));
        assert_eq!(status, 1, "{said}");
    }
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Every leaf of a line, as a path.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(member, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}/{n}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

fn flipped(value: &Value, dice: &mut Dice) -> Value {
    match value {
        Value::String(text) if !text.is_empty() => {
            let mut chars: Vec<char> = text.chars().collect();
            let at = usize::try_from(dice.below(chars.len() as u64)).unwrap();
            let other = char::from(b'a' + u8::try_from(dice.below(26)).unwrap());
            chars[at] = if chars[at] == other { '0' } else { other };
            chars.into_iter().collect::<String>().into()
        }
        Value::String(_) => "x".into(),
        Value::Number(n) => (n.as_i64().unwrap() + 1).into(),
        Value::Bool(b) => (!b).into(),
        _ => "x".into(),
    }
}

/// Every field of every line that the chain or a signature covers, flipped somewhere, in a file whose sum fits; and any
/// byte of the file, in one whose sum does not.
#[tokio::test]
async fn no_flipped_byte_stays_unseen() {
    let t = TestApp::new().await;
    let (owner, home) = history(&t).await;
    let whole = export(&owner, &home, "").await;
    let good = lines(&whole);
    let files = Files::new("flips");
    let seed = camarad::random::below(u64::MAX);
    let mut dice = Dice::new(seed);
    let rounds = 1 + usize::try_from(share()).unwrap();
    let mut bad = Vec::new();
    for (n, line) in good.iter().enumerate().take(good.len() - 1).skip(1) {
        let mut paths = Vec::new();
        leaves(line, "", &mut paths);
        for path in paths {
            for _ in 0..rounds {
                let mut lines = good.clone();
                let leaf = lines[n].pointer_mut(&path).unwrap();
                *leaf = flipped(leaf, &mut dice);
                bad.push(files.write(
                    &format!("{}{}.ndjson", n, path.replace('/', ".")),
                    &rewritten(&lines),
                ));
            }
        }
    }
    for round in 0..100 * rounds {
        let mut bytes = whole.clone().into_bytes();
        let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
        bytes[at] ^= 1 << dice.below(7);
        let path = files.0.join(format!("byte-{round}.ndjson"));
        std::fs::write(&path, bytes).unwrap();
        bad.push(path);
    }
    bad.sort();
    bad.dedup();
    for some in bad.chunks(200) {
        let out = verifier(t.app.clock().now(), &[], some);
        let said = String::from_utf8_lossy(&out.stdout);
        let unseen: Vec<_> = said
            .lines()
            .filter(|l| l.contains("nothing was changed"))
            .collect();
        assert!(unseen.is_empty(), "seed {seed}: {unseen:?}");
        assert_eq!(
            said.matches("NOT AS IT WAS WRITTEN").count(),
            some.len(),
            "seed {seed}: {said}"
        );
    }
}
