#!/bin/sh
# Prepares this machine to join the cluster @CLUSTER@.
# It downloads nothing and changes nothing: it checks what is here and says what is left to do.
set -eu

cluster='@CLUSTER@'
server='@SERVER@'
pin='@PIN@'
version='@VERSION@'

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "this machine runs $(uname -s); the agent is made for Linux"
case "$(uname -m)" in
    x86_64 | aarch64) ;;
    *) fail "this machine is a $(uname -m); the agent is made for x86_64 and aarch64" ;;
esac

agent=$(command -v boundkey-agent) || fail "boundkey-agent is not installed.
Install version $version of it by a way that you trust (your package repository, or a build of your own);
this script fetches no program, because it could not check it. Then run it again."
found=$("$agent" --version 2>/dev/null | awk '{print $NF}')
[ "$found" = "$version" ] || say "note: boundkey-agent is version $found, the server is $version"

config=${BOUNDKEY_CONFIG:-/etc/boundkey.yaml}
if [ -e "$config" ]; then
    say "$config is there already. Next:"
else
    say "Write $config (an administrator gives you the token's name and its secret or key):"
    say ""
    say "version: v3"
    say "agent:"
    say "  data_dir: /var/lib/boundkey"
    say "  join_params:"
    say "    token_name: NAME-OF-THE-TOKEN"
    say "    method: bound_keypair"
    say "    bound_keypair:"
    say "      registration_secret_path: /etc/boundkey.secret"
    say "  proxy_server: $server"
    say "  ca_pins: [\"$pin\"]   # compare with \`boundkeyctl status\` on the server of $cluster"
    say "ssh_service: {enabled: true}"
    say ""
    say "Next:"
fi
say "  $agent start -c $config --oneshot      # joins once"
say "  $agent install systemd -o /etc/systemd/system/boundkey-agent.service"
