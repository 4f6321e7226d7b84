#!/usr/bin/env bash
# Installs the programs that the tests across packages run against (QEMU, DPDK's testpmd, ...) from
# Debian's archive and builds the Linux guest. Repeating it costs nothing once all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# package, and the program that shows that it is there
peers=(
  qemu-system-x86:qemu-system-x86_64
  dpdk-dev:dpdk-testpmd
  busybox-static:busybox
  iperf3:iperf3
  ethtool:ethtool
  socat:socat
  iproute2:ip
  iputils-ping:ping
)
missing=()
for peer in "${peers[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${peer#*:}" >/dev/null || missing+=("${peer%%:*}")
done

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "setup:peers: no apt-get here; install by hand what stands for: ${missing[*]}" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup:peers: must run as root to install ${missing[*]} (sudo npm run setup:peers)" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  export DEBIAN_FRONTEND=noninteractive
  retry=(-o Acquire::Retries=3)
  if ! { apt-get update "${retry[@]}" && apt-get install -y "${retry[@]}" --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -40 "$log" >&2
    echo "setup:peers: apt-get could not install ${missing[*]}" >&2
    exit 1
  fi
fi
node tools/guest/build.mjs
