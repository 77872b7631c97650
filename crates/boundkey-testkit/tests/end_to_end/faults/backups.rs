//! `boundkey-server backup` of a running server, and `restore`.

use std::path::Path;
use std::process::Command;

use boundkey_testkit::{Cluster, Ran, binary, run};

use super::judge::sequence_held;
use crate::{facts, node_token};

fn server(cluster: &Cluster, words: &[&str], file: &Path) -> Ran {
    let mut command = Command::new(binary("boundkey-server"));
    run(command.args(words).arg("--data-dir").arg(cluster.data_dir()).arg(file))
}

#[test]
fn a_backup_of_a_running_server_is_restored_with_a_list_of_the_secrets_that_are_live_again() {
    let mut cluster = Cluster::start("backup");
    for name in ["web", "late", "void"] {
        cluster.create(&node_token(name));
    }
    let (web, late) = (cluster.agent("web"), cluster.agent("late"));
    web.oneshot().success();
    let file = cluster.path("backup.sqlite");
    let said = server(&cluster, &["backup"], &file).success();
    assert!(said.contains("without the master key"), "{said}");
    web.oneshot().success();
    late.oneshot().success();

    let refused = server(&cluster, &["restore", "--yes"], &file).failure();
    let id = cluster.server().id().to_string();
    assert!(refused.contains("boundkey-server that runs") && refused.contains(&id), "{refused}");
    // Killed, so that what it wrote last is in its log only.
    cluster.kill_server();
    let refused = server(&cluster, &["restore"], &file).failure();
    assert!(
        refused.contains("nothing was changed; to do it all the same: boundkey-server restore "),
        "{refused}"
    );
    assert!(refused.trim_end().ends_with(" --yes"), "{refused}");
    cluster.start_server(&[]);
    assert_ne!(facts(&cluster, "late")["bound_public_key"], "", "nothing was changed");
    cluster.kill_server();

    let said = server(&cluster, &["restore", "--yes"], &file).success();
    assert!(said.contains("secrets of 2 tokens are live again") && said.contains("late\n  void"), "{said}");
    cluster.start_server(&[]);
    assert_eq!(facts(&cluster, "late")["bound_public_key"], "");
    web.oneshot().success();
    late.oneshot().success();
    assert_eq!((sequence_held(&web), sequence_held(&late)), (3, 2), "both are taken back where they were");
    assert_eq!(facts(&cluster, "late")["recovery_count"], 1);
    cluster.stop_server();

    // What was there before the restore is kept whole, and can be restored itself.
    let kept = cluster.data_dir().join("store.sqlite.before-restore");
    let copy = cluster.path("kept.sqlite");
    std::fs::copy(&kept, &copy).expect("it is there");
    server(&cluster, &["restore", "--yes"], &copy).success();
    cluster.start_server(&[]);
    assert_ne!(facts(&cluster, "late")["bound_public_key"], "");
    web.oneshot().success();
}

#[test]
fn a_restore_without_the_master_key_or_of_something_else_changes_nothing() {
    let mut cluster = Cluster::start("backup-bad");
    cluster.create(&node_token("web"));
    let file = cluster.path("backup.sqlite");
    server(&cluster, &["backup"], &file).success();
    let mut other = Cluster::start("backup-other");
    let foreign = other.path("foreign.sqlite");
    server(&other, &["backup"], &foreign).success();
    other.stop_server();
    cluster.stop_server();
    let store = cluster.data_dir().join("store.sqlite");
    let before = std::fs::read(&store).expect("a store");

    let text = cluster.path("text");
    std::fs::write(&text, "no database, and long enough to be none ".repeat(200)).expect("written");
    for (file, says) in [(&foreign, "the master key does not fit"), (&text, "is not a database")] {
        let refused = server(&cluster, &["restore", "--yes"], file).failure();
        assert!(refused.contains(says), "{refused}");
    }
    let refused = server(&cluster, &["restore", "--yes"], &cluster.path("none")).failure();
    assert!(refused.contains("No such file"), "{refused}");
    let key = cluster.data_dir().join("master.key");
    let kept = std::fs::read(&key).expect("a key");
    std::fs::remove_file(&key).expect("removed");
    let refused = server(&cluster, &["restore", "--yes"], &file).failure();
    assert!(refused.contains("master.key is missing"), "{refused}");
    assert!(!key.exists(), "none is made");
    assert_eq!(std::fs::read(&store).expect("a store"), before);

    // On a new machine: the master key, the backup, nothing else.
    std::fs::remove_dir_all(cluster.data_dir()).expect("removed");
    run(Command::new("mkdir").args(["-m", "700"]).arg(cluster.data_dir())).success();
    std::fs::write(&key, kept).expect("written");
    run(Command::new("chmod").arg("600").arg(&key)).success();
    server(&cluster, &["restore", "--yes"], &file).success();
    cluster.start_server(&[]);
    cluster.agent("web").oneshot().success();
}
