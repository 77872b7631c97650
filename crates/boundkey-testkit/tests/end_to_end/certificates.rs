//! What agents receive, as OpenSSL and ssh-keygen see it.

use std::process::Command;

use boundkey_testkit::{Cluster, find, run};

use crate::node_token;

#[test]
fn openssl_accepts_the_certificates_of_a_host() {
    if find("openssl").is_none() {
        println!("SKIP: openssl is not installed");
        return;
    }
    let cluster = Cluster::start("openssl");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    let ca = cluster.path("host-ca.pem");
    std::fs::write(&ca, cluster.ctl(&["ca", "export", "--type", "host"]).success()).expect("written");
    for purpose in ["sslclient", "sslserver"] {
        let verified = run(Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .arg(&ca)
            .arg(agent.identity("cert.pem")))
        .success();
        assert!(verified.ends_with(": OK\n"), "{verified}");
    }
    let text =
        run(Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(agent.identity("cert.pem")))
            .success();
    for expected in
        ["DNS:web, DNS:web.example.com", "URI:spiffe://example.com/host/", "TLS Web Client Authentication"]
    {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    let key = run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(agent.identity("key.pem")))
        .success();
    let certified = run(Command::new("openssl")
        .args(["x509", "-noout", "-pubkey", "-in"])
        .arg(agent.identity("cert.pem")))
    .success();
    assert_eq!(key, certified);
}

#[test]
fn a_token_allows_the_names_that_its_spec_lists_and_no_others() {
    let cluster = Cluster::start("names");
    let spec = "  certificates:\n    dns_names: ['*.web.test', front.test]\n    ip_addresses: [10.0.0.0/8]\n    max_ttl: 2h\n";
    cluster.create(&(node_token("web") + spec));
    let wanted =
        "ssh_service: {enabled: true}\ncertificates: {dns_names: [a.web.test], ip_addresses: [10.1.2.3]}\n";
    let agent = cluster.agent_with("web", wanted);
    agent.oneshot().success();
    if find("openssl").is_some() {
        let text = run(Command::new("openssl")
            .args(["x509", "-noout", "-text", "-in"])
            .arg(agent.identity("cert.pem")))
        .success();
        assert!(text.contains("DNS:a.web.test") && text.contains("IP Address:10.1.2.3"), "{text}");
    }
    let config = std::fs::read_to_string(agent.config()).expect("a config");
    std::fs::write(agent.config(), config.replace("a.web.test", "bank.test")).expect("written");
    let refused = agent.oneshot().failure();
    assert!(refused.contains("name_not_allowed") && refused.contains("bank.test"), "{refused}");
}
