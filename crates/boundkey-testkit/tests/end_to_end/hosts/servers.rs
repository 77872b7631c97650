//! nginx takes the certificates up at each renewal, without a moment in which they do not fit.

use std::path::Path;
use std::process::Command;

use boundkey_testkit::{Cluster, Running, find, run, wait_for};

use super::{renew, serial};
use crate::node_token;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// Ends its workers too, however the test ends: killed, it would leave them.
struct Nginx(Running);

impl Drop for Nginx {
    fn drop(&mut self) {
        if self.0.ended().is_none() {
            self.0.signal("TERM");
            wait_for("nginx to end", || self.0.ended().is_some());
        }
    }
}

/// nginx in the foreground, serving the output to those that show a certificate of the cluster.
fn nginx(cluster: &Cluster, program: &Path, output: &Path, port: u16) -> Nginx {
    let prefix = cluster.path("nginx");
    std::fs::create_dir_all(&prefix).expect("a directory");
    let config = prefix.join("nginx.conf");
    let (out, dir) = (output.display(), prefix.display());
    std::fs::write(
        &config,
        format!(
            "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\nevents {{}}\nhttp {{\n  \
             access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; \
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n  server {{\n    listen 127.0.0.1:{port} ssl;\n    \
             ssl_protocols TLSv1.3;\n    ssl_certificate \"{out}/chain.pem\"; ssl_certificate_key \"{out}/key.pem\";\n    \
             ssl_client_certificate \"{out}/ca.pem\"; ssl_verify_client on;\n    location / {{ return 200 \"in\\n\"; }}\n  \
             }}\n}}\n"
        ),
    )
    .expect("written");
    let mut command = Command::new(program);
    command.arg("-p").arg(&prefix).arg("-c").arg(&config);
    let mut daemon = Nginx(Running::start(&mut command, cluster.path("nginx.log")));
    wait_for("nginx to listen", || {
        assert!(daemon.0.ended().is_none(), "{}", daemon.0.printed());
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    daemon
}

#[test]
fn nginx_serves_each_new_certificate_and_asks_for_one_of_the_cluster() {
    let (Some(program), Some(curl)) = (find("nginx"), find("curl")) else {
        println!("SKIP: nginx or curl is not installed");
        return;
    };
    let cluster = Cluster::start("nginx");
    cluster.create(&node_token("web"));
    // A name that sshd's, nginx' and the shell's grammars all have to be told of.
    let output = cluster.path("certs of web#1");
    let pid = cluster.path("nginx/pid");
    let agent = cluster.agent_with(
        "web",
        &format!(
            "ssh_service: {{enabled: true}}\noutputs:\n- type: tls\n  path: \"{}\"\n  reload: \"test ! -e {2} || kill -HUP $(cat {1})\"\n",
            output.display(),
            pid.display(),
            pid.display(),
        ),
    );
    let mut service = agent.start();
    wait_for("the first certificate", || output.join("key.pem").exists());
    let port = free_port();
    let daemon = nginx(&cluster, &program, &output, port);
    let fetch = |with_certificate: bool| {
        let mut command = Command::new(&curl);
        command.args(["-sS", "--max-time", "10", "--resolve", &format!("web:{port}:127.0.0.1"), "--cacert"]);
        command.arg(output.join("ca.pem"));
        if with_certificate {
            command.arg("--cert").arg(output.join("chain.pem")).arg("--key").arg(output.join("key.pem"));
        }
        run(command.arg(format!("https://web:{port}/")))
    };
    let served = || {
        let shown = run(Command::new("sh").arg("-c").arg(format!(
            "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial"
        )));
        shown.stdout
    };
    for _ in 0..3 {
        let expected = serial(&output.join("cert.pem"));
        wait_for("nginx to serve it", || served() == expected);
        assert_eq!(fetch(true).success(), "in\n");
        assert_ne!(fetch(false).stdout, "in\n", "nobody gets in without a certificate");
        renew(&mut service, &output.join("cert.pem"));
    }
    assert!(service.stop().success());
    let errors = std::fs::read_to_string(cluster.path("nginx/error.log")).unwrap_or_default();
    assert!(!errors.contains("[emerg]"), "{errors}");
    drop(daemon);
}
