#!/bin/sh
# The guest's first process: loads the drivers, then runs what the host asks for.
#
# The first serial port carries the kernel's messages, the second one this conversation, so that the
# two never mix. The host writes a line `<id> <length> <command in base64, so many characters>`; the
# guest answers with a line `rxvhost-guest: begin <id>`, the output of the command, and `rxvhost-guest: end
# <id> <status>`. A guest that is short of memory can lose characters: then it says `rxvhost-guest: again`.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /usr/bin /usr/sbin /sbin
/bin/busybox --install -s
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp

while read -r module; do insmod "/lib/modules/$module"; done </lib/modules/order
ip link set lo up

exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
cd /tmp
echo "rxvhost-guest: ready $(uname -r)"
while read -r id length command; do
  if [ "${#command}" != "$length" ]; then
    echo "rxvhost-guest: again"
    continue
  fi
  echo "rxvhost-guest: begin $id"
  echo "$command" | base64 -d >/tmp/command
  sh /tmp/command </dev/null
  # The line break before the marker belongs to the marker: output need not end in one.
  printf '\nrxvhost-guest: end %s %s\n' "$id" "$?"
done
