//! `dew` as a person types it, against a whole node: what it prints, and how it exits.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod commands;
mod rig;

use rig::Desk;
use std::path::{Path, PathBuf};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_five_minutes() {
    let desk = Desk::start().await;
    desk.says(
        "context list",
        "name   current  protected  endpoints  tenant
         admin  true     false      ENDPOINT   -",
    );
    desk.says(
        "tenant create birch --history 36h",
        "id                TENANT
         name              birch
         state             active
         quota_bytes       0
         quota_operations  0
         history_ms        129600000
         group             g-2
         purge_ms          0",
    );
    assert_eq!(desk.json("scrub -o json")["schema"], "dew.scrub.ask/1");
    desk.says(
        "identity issue --service-of birch --folder birch",
        "key          birch/birch.key
         certificate  birch/birch.crt
         authority    birch/ca.crt",
    );
    desk.dew("context add birch --tenant birch --endpoint ENDPOINT --ca birch/ca.crt --certificate birch/birch.crt --key birch/birch.key");
    desk.dew("context use birch");
    desk.says(
        "put -c customers 1 Ada",
        "key     1
         stamp   STAMP
         commit  COMMIT",
    );
    desk.says(
        "get -c customers 1",
        "key         1
         stamp       STAMP
         expires_ms  -
         value       Ada",
    );
    let stamp = desk.json("get -c customers 1 -o json")["stamp"].as_str().unwrap().to_owned();
    desk.dew("put -c customers 1 Eva");
    assert_eq!(desk.json(&format!("get -c customers 1 --as-of {stamp} -o json"))["value"], "Ada");
    desk.fails(4, "put -c customers 1 Eve --if-absent", "DEW-1010");
    desk.fails(4, "cas -c customers 1 Ada Eve", "DEW-1010");
    desk.dew("delete -c customers 1");
    desk.fails(4, "get -c customers 1", "DEW-1010");
    desk.says(
        "history -c customers 1",
        "stamp  commit  removed  value
         STAMP  COMMIT  true     -
         STAMP  COMMIT  false    Eva
         STAMP  COMMIT  false    Ada",
    );
    // The delete is undone.
    let history = desk.json("history -c customers 1 -o json");
    let commit = history["rows"][0]["commit"].as_str().unwrap();
    desk.dew(&format!(
        "restore plan -t birch --context admin --key customers/1 --before {commit} --out plan.json"
    ));
    desk.dew("restore apply plan.json --context admin --wait");
    assert_eq!(desk.json("get -c customers 1 -o json")["value"], "Eva");
    desk.fails(1, "get -c customers 1 --context admin -t birch", "DEW-2002");
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_out_comes_in_again() {
    let desk = Desk::start().await;
    desk.tenant("birch");
    let lines: String = (0..1_500)
        .map(|n| format!("{{\"collection\":\"c\",\"key\":\"{n:05}\",\"value\":{{\"n\":{n}}}}}\n"))
        .collect();
    desk.write("in.ndjson", &lines);
    let done = desk.json("import in.ndjson --batch 100 --resume progress -o json");
    assert_eq!((done["lines"].as_str(), done["written"].as_str()), (Some("1500"), Some("1500")));
    let again = desk.json("import in.ndjson --batch 100 --resume progress -o json");
    assert_eq!(again["written"], "0", "it has been there");
    let out = desk.dew("export -c c");
    assert_eq!(out, lines, "what comes out goes in");
    let scanned = desk.json("scan -c c --from 00010 --limit 2 -o json");
    let keys: Vec<_> = scanned["rows"].as_array().unwrap().iter().map(|row| row["key"].clone()).collect();
    assert_eq!(keys, ["00010", "00011"]);
    desk.write("bad.ndjson", "{\"collection\":\"c\",\"key\":\"x\",\"value\":1}\nnonsense\n");
    desk.fails(64, "import bad.ndjson", "line 2: it is no JSON");
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_killed_goes_on_and_writes_nothing_twice() {
    let desk = Desk::start().await;
    desk.tenant("birch");
    let line = |n: u32| format!("{{\"collection\":\"c\",\"key\":\"{n:05}\",\"value\":{n}}}\n");
    let lines: String = (0..3_000).map(line).collect();
    desk.write("in.ndjson", &lines);
    let import = "import in.ndjson --batch 10 --resume progress -o json";
    let mut killed = 0;
    while killed < 4 {
        let mut child = desk.begin(import);
        let (from, mut at) = (desk.lines_done("progress"), 0);
        while at < from + 100 && child.try_wait().unwrap().is_none() {
            at = desk.lines_done("progress");
        }
        killed += 1;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(desk.lines_done("progress") < 3_000, "it was killed on its way");
    desk.json(import);
    assert_eq!(desk.dew("export -c c"), lines);
    assert_eq!(desk.lines_done("progress"), 3_000);
    for n in (0..3_000).step_by(37) {
        let history = desk.json(&format!("history -c c {n:05} -o json"));
        assert_eq!(history["rows"].as_array().unwrap().len(), 1, "{n} was written twice");
    }
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_key_that_comes_twice_the_later_line_wins_however_many_batches_are_under_way() {
    let desk = Desk::start().await;
    desk.tenant("birch");
    // Every key comes in many batches; each line is a batch.
    let line = |n: u32| format!("{{\"collection\":\"c\",\"key\":\"{}\",\"value\":{n}}}\n", n % 7);
    desk.write("in.ndjson", &(0..300).map(line).collect::<String>());
    let done = desk.json("import in.ndjson --batch 1 --in-flight 32 -o json");
    assert_eq!(done["written"], "300");
    for key in 0..7 {
        let history = desk.json(&format!("history -c c {key} -o json"));
        let values: Vec<u32> = history["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["value"].as_str().unwrap().parse().unwrap())
            .collect();
        let mut wanted: Vec<u32> = (0..300).filter(|n| n % 7 == key).collect();
        wanted.reverse();
        assert_eq!(values, wanted[..values.len()]);
        assert!(values.len() > 40);
    }
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shells_complete_live_names() {
    let desk = Desk::start().await;
    desk.tenant("birch");
    desk.dew("put -c customers 1 Ada");
    desk.dew("context use admin");
    desk.dew("tenant create beech");
    let complete = |line: &str| -> Vec<String> {
        let said = desk.run(line);
        assert!(said.status.success() && said.stderr.is_empty(), "{line}");
        rig::text(&said.stdout).lines().map(str::to_owned).collect()
    };
    // The cluster has a third of a second to answer, and this machine may be slow.
    let in_the_end = |line: &str, wanted: &[&str]| {
        let found = (0..40).map(|_| complete(line)).find(|found| found == wanted);
        assert!(found.is_some(), "{line}: {:?}", complete(line));
    };
    in_the_end("complete -- tenant show b", &["beech", "birch"]);
    in_the_end("complete -- node drain d", &["double"]);
    in_the_end("complete -- get --context birch -c c", &["customers"]);
    assert_eq!(complete("complete -- context use b"), ["birch"]);
    assert_eq!(complete("complete -- tenant show x"), [""; 0]);
    assert_eq!(
        complete("complete -- get -c c"),
        [""; 0],
        "an administrator reaches no rows, and nothing is said"
    );
    // As a shell asks.
    desk.write("completion.bash", &desk.dew("completion bash"));
    let dew = PathBuf::from(env!("CARGO_BIN_EXE_dew"));
    let script = "source ./completion.bash; COMP_WORDS=(dew tenant show bi); COMP_CWORD=3; _dew; echo \"${COMPREPLY[*]}\"";
    let asked = || {
        let mut bash = desk.shell("bash", dew.parent().unwrap());
        let said = bash.args(["-c", script]).output().unwrap();
        rig::text(&said.stdout)
    };
    assert!((0..40).any(|_| asked() == "birch\n"), "{}", asked());
    other_shells(&desk, &dew);
    desk.stop().await;
}

/// Shells that this machine may not have: it is said which.
fn other_shells(desk: &Desk, dew: &Path) {
    let fish = r#"source ./completion.fish; complete -C "dew tenant show bi""#;
    // The words as zsh has them when it completes, and what it would offer.
    let zsh = "compdef() { }; compadd() { print -l -- ${(P)2}; }; source ./completion.zsh; words=(dew tenant show bi); CURRENT=4; _dew";
    for (shell, script) in [("fish", fish), ("zsh", zsh)] {
        desk.write(&format!("completion.{shell}"), &desk.dew(&format!("completion {shell}")));
        let asked = || {
            let mut command = desk.shell(shell, dew.parent().unwrap());
            command.args(["-c", script]).output().map(|output| rig::text(&output.stdout))
        };
        match asked() {
            Ok(_) => assert!((0..40).any(|_| asked().unwrap() == "birch\n"), "{shell}: {}", asked().unwrap()),
            Err(error) => println!("{shell}: skipped, {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dangerous_or_wrong_is_not_done() {
    let desk = Desk::start().await;
    desk.tenant("birch");
    desk.dew("context use admin");
    desk.fails(64, "tenant drop birch", "type the name again: --confirm birch");
    desk.fails(64, "tenant drop birch --confirm brich", "the name is `birch`");
    assert_eq!(desk.json("tenant show birch -o json")["state"], "active");
    desk.dew("tenant drop birch --confirm birch");
    assert_eq!(desk.json("tenant show birch -o json")["state"], "dropped");
    let jobs = desk.json("job list -o json");
    let job = &jobs["rows"][0];
    assert_eq!(
        (job["kind"].as_str(), job["subject"].as_str(), job["state"].as_str()),
        (Some("purge"), Some("birch"), Some("waiting"))
    );
    desk.dew("tenant undrop birch");
    assert!(desk.json("job list -o json")["rows"].as_array().unwrap().is_empty());
    desk.fails(64, "identity issue --admin ann --folder ann --valid 400d", "a year at most");
    desk.fails(1, "tenant show nobody", "DEW-3001");
    desk.fails(64, "get --no-such-flag", "unexpected argument");
    desk.fails(64, "get -c c k --context nowhere", "there is no context `nowhere`; there are: admin, birch");
    desk.fails(64, "explain DEW-1", "no code of an error");
    assert!(desk.dew("explain 4003").contains("OVERLOADED"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.dew(&format!("completion {shell}")).contains("dew"), "{shell}");
    }
    let status = desk.json("status -o json");
    assert_eq!(
        (status["schema"].as_str(), status["is_well"].as_bool()),
        (Some("dew.status.show/1"), Some(true))
    );
    desk.stop().await;
}
