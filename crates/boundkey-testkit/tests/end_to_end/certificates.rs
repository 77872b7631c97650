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

/// DNS, X.509 and ssh compare in lower case, whatever a token is called and a machine asks for.
#[test]
fn names_in_capitals_are_certified_in_lower_case_too() {
    let cluster = Cluster::start("capitals");
    cluster.create(&(node_token("WEB-1") + "  certificates:\n    dns_names: [WEB-1, '*.Web.Test']\n"));
    let wanted = "ssh_service: {enabled: true}\ncertificates: {dns_names: [web-1, A.WEB.test], principals: [web-1.Example.COM]}\n";
    let agent = cluster.agent_with("WEB-1", wanted);
    agent.oneshot().success();
    match find("openssl") {
        Some(openssl) => {
            let text = run(Command::new(openssl)
                .args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
                .arg(agent.identity("cert.pem")))
            .success();
            assert!(text.contains("DNS:web-1, DNS:a.web.test, URI:"), "{text}");
        }
        None => println!("SKIP: openssl is not installed"),
    }
    match find("ssh-keygen") {
        Some(keygen) => {
            let listed = run(Command::new(keygen)
                .args(["-L", "-f"])
                .arg(agent.identity("ssh_host_ed25519_key-cert.pub")))
            .success();
            let (_, principals) = listed.split_once("Principals:").expect("principals");
            let principals: Vec<&str> = principals.split_whitespace().take(2).collect();
            assert_eq!(principals, ["web-1.example.com", "web-1.Example.COM"], "{listed}");
        }
        None => println!("SKIP: ssh-keygen is not installed"),
    }
}

#[test]
fn every_name_that_is_not_allowed_is_told_in_one_refusal() {
    let cluster = Cluster::start("names-told");
    cluster.create(&node_token("web"));
    let wanted = "ssh_service: {enabled: true}\ncertificates: {dns_names: [localhost, web], ip_addresses: [10.1.2.3], principals: [root]}\n";
    let refused = cluster.agent_with("web", wanted).oneshot().failure();
    for told in [
        "`localhost` is not allowed by `spec.certificates.dns_names` of token `web`",
        "`10.1.2.3` is not allowed by `spec.certificates.ip_addresses` of token `web`",
        "`root` is not allowed by `spec.certificates.principals` of token `web`",
    ] {
        assert!(refused.contains(told), "{told}: {refused}");
    }
    // The id that the agent's log names finds the cause.
    let (_, id) = refused.split_once("boundkeyctl events ls --id ").expect("how it is found");
    let id: String = id.chars().take_while(char::is_ascii_hexdigit).collect();
    let found = cluster.ctl(&["events", "ls", "--id", &id]).success();
    assert!(found.contains("denied_name_not_allowed") && found.contains(&id[..12]), "{found}");
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
