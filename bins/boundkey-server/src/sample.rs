//! `configure`: a commented configuration with every default in it.

use crate::args::SettingArgs;
use crate::config::{DEFAULT_DATA_DIR, DEFAULT_LISTEN};

/// The configuration that says what the flags say.
pub(crate) fn sample(flags: &SettingArgs) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let cluster = match &flags.cluster_name {
        Some(name) => format!("cluster_name: {}", quoted(name)),
        None => "#cluster_name: example.com".to_owned(),
    };
    let data_dir =
        flags.data_dir.as_ref().map_or_else(|| DEFAULT_DATA_DIR.into(), |d| d.display().to_string());
    let listen = flags.listen.as_deref().unwrap_or(DEFAULT_LISTEN);
    let public = if flags.public_addrs.is_empty() {
        "#public_addrs: [\"server.example.com:443\"]".to_owned()
    } else {
        let list: Vec<String> = flags.public_addrs.iter().map(|a| quoted(a)).collect();
        format!("public_addrs: [{}]", list.join(", "))
    };
    TEMPLATE
        .replace("@CLUSTER@", &cluster)
        .replace("@DATA_DIR@", &quoted(&data_dir))
        .replace("@LISTEN@", &quoted(listen))
        .replace("@PUBLIC@", &public)
}

const TEMPLATE: &str = r#"# boundkey-server; check it with: boundkey-server check-config -c FILE
# Everything but cluster_name may be left out; commented lines show the defaults or an example.

# In every certificate and every join; fixed for good by the first start.
@CLUSTER@

# Keys, store, admin socket, lock. One server to a directory; 0700.
data_dir: @DATA_DIR@

# Where machines connect (TLS 1.3).
listen: @LISTEN@

# Under which addresses they reach it: they stand in the server's certificate.
@PUBLIC@

# A certificate of your own instead of the cluster's; read again on SIGHUP.
#tls:
#  cert_file: /etc/ssl/server.pem       # leaf first, then its CAs
#  key_file: /etc/ssl/server.key

# How long certificates live: what is given when a machine asks for nothing, and the bounds.
#lifetimes:
#  host: 24h
#  bot: 1h
#  host_max: 7d
#  bot_max: 24h
#  min: 60s
#  server: 30d                          # the server's own

#lifecycle:
#  renewal_grace:                       # after expiry, a join still counts as a renewal for so long
#    hosts: 30d
#    bots: 24h
#  auto_lock_revokes: bots              # what an automatic lock revokes at once: none, bots or all

#limits:
#  concurrent_joins: 64                 # worked on at a time; more wait, source networks in turn
#  waiting_joins: 1024                  # more are answered 503 with an appointment (Retry-After)
#  join_patience: 5s                    # who would wait longer is given an appointment too
#  message_memory_mib: 64               # join messages in memory
#  concurrent_handshakes: 256           # more wait, source networks in turn
#  connections: 10000                   # more take the places of those who keep the server waiting longest
#  handshake_timeout: 10s
#  read_timeout: 15s                    # without a request; for a body; for 16 KiB of an answer
#  request_timeout: 60s
#  connection_age: 10m                  # an older connection takes no new request
#  clients_per_token: 100000            # of a shared token; new ones above it are told to come later

#audit:
#  keep: 90d                            # older events are dropped; or forever
#  keep_mib: 1024                       # a larger log loses its oldest events; or unlimited

#admin_socket:
#  path: /run/boundkey-server/admin.sock   # default: admin.sock in data_dir
#  mode: "0600"
#  group: boundkey                      # with mode "0660"

#log:
#  level: info                          # error, warn, info, debug, trace; read again on SIGHUP
#  format: text                         # or json
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn what_configure_prints_means_the_defaults() {
        let settings = Settings::parse(sample(&SettingArgs::default()).as_bytes(), "sample").unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn what_stands_in_comments_is_right_too() {
        let text = sample(&SettingArgs::default());
        let bare: Vec<&str> = text
            .lines()
            .map(|line| {
                line.strip_prefix('#')
                    .filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "))
                    .unwrap_or(line)
            })
            .collect();
        let settings = Settings::parse(bare.join("\n").as_bytes(), "sample").unwrap();
        let defaults = Settings::default();
        assert_eq!(settings.lifetimes, defaults.lifetimes);
        assert_eq!(settings.policy, defaults.policy);
        assert_eq!(settings.limits, defaults.limits);
        assert_eq!(settings.audit, defaults.audit);
        assert_eq!(settings.log, defaults.log);
        assert_eq!(settings.auto_lock_revokes, defaults.auto_lock_revokes);
        assert_eq!(settings.admin_socket.mode, defaults.admin_socket.mode);
        assert!(settings.tls.is_some() && settings.cluster_name.is_some());
    }

    #[test]
    fn flags_are_quoted_as_they_are() {
        let flags = SettingArgs { data_dir: Some("/srv/a: b \"c\"".into()), ..SettingArgs::default() };
        let settings = Settings::parse(sample(&flags).as_bytes(), "sample").unwrap();
        assert_eq!(settings.data_dir.to_str(), Some("/srv/a: b \"c\""));
    }
}
