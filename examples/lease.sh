#!/bin/sh
# Leases a key and a port for one device with curl, and opens the tunnel with the ssh that is there.
#   SSHOAL_URL=https://sshoal.example.com SSHOAL_TOKEN=… sh examples/lease.sh 00:13:48:02:6a:fe 30m
# The private key comes once, over TLS or from this machine. It and the host keys lie in a folder that goes with the tunnel.
set -eu
url=${SSHOAL_URL:-http://127.0.0.1:8080}
mac=$1
timeout=${2:-30m}
# Where the device's own service listens: visitors of the lease get there.
target=${TARGET:-localhost:22}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
umask 077

# The token goes in by standard input, so that it stands in no process list.
printf 'header = "Authorization: Bearer %s"\n' "$SSHOAL_TOKEN" |
  curl -sS --fail-with-body -K - -H 'Content-Type: application/json' -o "$folder/lease" \
    -d "{\"macaddress\": \"$mac\", \"timeout\": \"$timeout\"}" "$url/leases" || {
  cat "$folder/lease" >&2
  exit 1
}

# One field of the flat answer; `\n` in it becomes a line's end.
field() {
  sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$folder/lease" | sed 's/\\n/\
/g'
}
field privateKey >"$folder/key"
field knownHosts >"$folder/known_hosts"
port=$(field port)
echo "leased port $port until $(field expiresAt)"

ssh -N -i "$folder/key" -p "$(field sshPort)" -R "$port:$target" \
  -o BatchMode=yes -o IdentitiesOnly=yes -o ExitOnForwardFailure=yes \
  -o StrictHostKeyChecking=yes -o UserKnownHostsFile="$folder/known_hosts" \
  -o ServerAliveInterval=15 "lease@$(field host)" &
wait $!
