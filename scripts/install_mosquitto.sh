#!/bin/sh
# Installs the MQTT broker mosquitto where it may (root, or sudo without a password) and otherwise says the line to run.
# No system broker is left running or enabled: `muster up --mqtt` starts its own. One that is there is left alone.
# With MUSTER_REQUIRE_MOSQUITTO set it fails when there is none in the end.
set -eu
LINE="apt-get install -y --no-install-recommends mosquitto"
POLICY=/usr/sbin/policy-rc.d

is_there() {
  command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ]
}

# As root: without letting the package start a broker, and without one at the next boot.
install() {
  made=""
  if [ ! -e "$POLICY" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$POLICY" && chmod 755 "$POLICY" && made=1
  fi
  export DEBIAN_FRONTEND=noninteractive
  done=1
  $LINE -qq >/dev/null 2>&1 || { apt-get update -qq >/dev/null 2>&1 && $LINE -qq >/dev/null 2>&1; } || done=""
  [ -z "$made" ] || rm -f "$POLICY"
  [ -n "$done" ] || return 1
  if command -v systemctl >/dev/null 2>&1; then
    systemctl disable --now mosquitto >/dev/null 2>&1 || systemctl disable mosquitto >/dev/null 2>&1 || true
  fi
}

if [ "${1:-}" = --as-root ]; then
  install
  exit
fi
if ! is_there && command -v apt-get >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ]; then
    install || true
  elif sudo -n true 2>/dev/null; then
    sudo -n sh "$0" --as-root || true
  fi
fi
is_there && exit 0
sudo=""
[ "$(id -u)" = 0 ] || sudo="sudo "
echo "mosquitto is missing: no MQTT here (muster up --mqtt, one device of the demo). To have it: $sudo$LINE"
[ -z "${MUSTER_REQUIRE_MOSQUITTO:-}" ]
