//! A real sshd that trusts the cluster's user CA, a real client that trusts its host CA.

use std::path::Path;
use std::process::Command;

use boundkey_testkit::{Cluster, Running, find, run, wait_for};

use crate::node_token;

#[test]
fn a_bots_user_certificate_logs_in_to_a_host_known_by_its_host_certificate() {
    let (Some(sshd), Some(ssh), Some(keygen)) = (find("sshd"), find("ssh"), find("ssh-keygen")) else {
        println!("SKIP: openssh-server and openssh-client are not installed");
        return;
    };
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: sshd is only tried as root");
        return;
    }
    let cluster = Cluster::start("ssh");
    cluster.create(&node_token("host1"));
    cluster.create(
        "kind: bot\nversion: v1\nmetadata: {name: ci}\nspec: {logins: [deploy]}\n---\nkind: token\nversion: v2\n\
         metadata: {name: ci}\nspec: {roles: [Bot], bot_name: ci, join_method: bound_keypair}\n",
    );
    let host_key = cluster.path("ssh_host_ed25519_key");
    run(Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key)).success();
    // A name that `sshd.conf` has to quote.
    let host_out = cluster.path("host's certs #1 %h");
    let host = cluster.agent_with(
        "host1",
        &format!(
            "ssh_service: {{enabled: true}}\noutputs:\n- {{type: openssh_host, path: \"{}\", host_key: {}}}\n",
            host_out.display(),
            host_key.display()
        ),
    );
    host.oneshot().success();
    let user_out = cluster.path("user-out");
    let bot = cluster
        .agent_with("ci", &format!("outputs:\n- {{type: openssh_user, path: {}}}\n", user_out.display()));
    bot.oneshot().success();
    let entries = |path: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(path)
            .expect("an output directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    println!("host: {:?} user: {:?}", entries(&host_out), entries(&user_out));
    let one = |path: &Path, suffix: &str| {
        let name = entries(path).into_iter().find(|name| name.ends_with(suffix));
        path.join(name.unwrap_or_else(|| panic!("no {suffix} among {:?}", entries(path))))
    };
    let host_certificate = one(&host_out, "-cert.pub");
    let listed = run(Command::new(&keygen).arg("-L").arg("-f").arg(&host_certificate)).success();
    assert!(listed.contains("host certificate") && listed.contains("host1"), "{listed}");

    let principals = cluster.path("principals");
    std::fs::write(&principals, "deploy\n").expect("written");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let config = cluster.path("sshd_config");
    std::fs::write(
        &config,
        format!(
            "Include \"{}/sshd.conf\"\nPort {port}\nListenAddress 127.0.0.1\nAuthorizedPrincipalsFile {}\nAuthorizedKeysFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n\
             PermitRootLogin yes\nLogLevel VERBOSE\nPidFile none\n",
            host_out.display(),
            principals.display(),
        ),
    )
    .expect("written");
    std::fs::create_dir_all("/run/sshd").expect("sshd wants this directory");
    let mut daemon =
        Running::start(Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config), cluster.path("sshd.log"));
    wait_for("sshd to listen", || {
        assert!(daemon.ended().is_none(), "{}", daemon.printed());
        daemon.printed().contains("Server listening")
    });
    let login = |alias: &str| {
        run(Command::new(&ssh)
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "GlobalKnownHostsFile=none"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", one(&user_out, "known_hosts").display()))
            .arg("-o")
            .arg(format!("HostKeyAlias={alias}"))
            .arg("-o")
            .arg(format!("CertificateFile={}", one(&user_out, "-cert.pub").display()))
            .arg("-i")
            .arg(user_out.join("id_ed25519"))
            .args(["-p", &port.to_string(), "root@127.0.0.1", "echo in"]))
    };
    assert_eq!(login("host1.example.com").success(), "in\n");
    // sshd reads the certificate anew for each connection.
    host.oneshot().success();
    assert_eq!(login("host1").success(), "in\n");
    let speaks_for = |name: &str| {
        run(Command::new(&keygen).args(["-F", name, "-f"]).arg(user_out.join("known_hosts"))).code == Some(0)
    };
    for (name, known) in [
        ("host1", true),
        ("HOST1.example.com", true),
        ("host1.dc2.example.com", true),
        ("github.com", false),
        ("example.com.evil.test", false),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(speaks_for(name), known, "{name}");
    }
    let refused = login("other.example.com");
    assert_eq!(refused.code, Some(255), "a host certificate is for its names only: {}", refused.stderr);
    std::fs::write(&principals, "somebody-else\n").expect("written");
    assert_eq!(login("host1.example.com").code, Some(255));
    assert!(daemon.printed().contains("authorized principal"), "{}", daemon.printed());
}

/// ssh compares names in lower case whatever was typed, so a token's name in capitals is certified in lower case too.
#[test]
fn a_host_whose_token_has_a_name_in_capitals_is_known_by_whatever_is_typed() {
    let (Some(sshd), Some(ssh), Some(keygen)) = (find("sshd"), find("ssh"), find("ssh-keygen")) else {
        println!("SKIP: openssh-server and openssh-client are not installed");
        return;
    };
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: sshd is only tried as root");
        return;
    }
    let cluster = Cluster::start("ssh-capitals");
    cluster.create(&node_token("WEB-1"));
    let host_key = cluster.path("ssh_host_ed25519_key");
    run(Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key)).success();
    let host_out = cluster.path("host-out");
    let host = cluster.agent_with(
        "WEB-1",
        &format!(
            "ssh_service: {{enabled: true}}\ncertificates: {{principals: [Web-1, WEB-1.Example.com]}}\noutputs:\n\
             - {{type: openssh_host, path: {}, host_key: {}}}\n",
            host_out.display(),
            host_key.display()
        ),
    );
    host.oneshot().success();
    let ca = cluster.ctl(&["ca", "export", "--type", "ssh-host"]).success();
    let known_hosts = cluster.path("known_hosts");
    std::fs::write(&known_hosts, format!("@cert-authority * {ca}")).expect("written");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let config = cluster.path("sshd_config");
    let certificate = host_out.join("ssh_host_ed25519_key-cert.pub");
    std::fs::write(
        &config,
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nHostCertificate {}\nAuthorizedKeysFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nLoginGraceTime 5\nPidFile none\n",
            host_key.display(),
            certificate.display(),
        ),
    )
    .expect("written");
    std::fs::create_dir_all("/run/sshd").expect("sshd wants this directory");
    let mut daemon =
        Running::start(Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config), cluster.path("sshd.log"));
    wait_for("sshd to listen", || {
        assert!(daemon.ended().is_none(), "{}", daemon.printed());
        daemon.printed().contains("Server listening")
    });
    // The name is typed, and the address comes from elsewhere: there is no such name in any DNS.
    let relay = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 2>/dev/null & trap \"kill $!\" EXIT HUP; cat >&3 2>/dev/null"
    );
    let typed = |name: &str| {
        run(Command::new(&ssh)
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "GlobalKnownHostsFile=none"])
            .args(["-o", "StrictHostKeyChecking=yes", "-o", "IdentityAgent=none", "-o"])
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-o")
            .arg(format!("ProxyCommand=bash -c '{relay}'"))
            .args([&format!("root@{name}"), "true"]))
        .stderr
    };
    for name in ["WEB-1", "web-1", "Web-1", "WEB-1.example.com"] {
        let said = typed(name);
        // Known, and refused as a user, who has no key.
        assert!(said.contains("Permission denied"), "{name}: {said}");
        assert!(!said.contains("Host key verification failed"), "{name}: {said}");
    }
    let other = typed("WEB-2");
    assert!(other.contains("Host key verification failed"), "{other}");
}
