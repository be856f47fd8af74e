# Looks for signing keys wherever a step can read. With an argument it searches
# that folder only, to show that it would find them.
tried() { echo "TRIED $*"; }
found() { echo "FOUND $*"; }

search() {
  tried "names and contents below $1"
  find "$1" \( -path /proc -o -path /sys \) -prune -o -type f -print > /tmp/hostile-list 2>/dev/null
  while read -r f; do
    case ${f##*/} in attestation.key | repository.key | repository.next.key) found "$f" ;; esac
  done < /tmp/hostile-list
  tr '\n' '\0' < /tmp/hostile-list | xargs -0 grep -laE '^-----BEGIN [A-Z ]*PRIVATE KEY' 2>/dev/null |
    while read -r f; do found "a key in $f"; done
  rm -f /tmp/hostile-list
}

if [ $# -gt 0 ]; then
  search "$1"
  exit 9
fi
search /
tried "the environment"
env | grep -iE 'pass|token|secret|key|ashlar|credential' | while read -r v; do found "variable $v"; done
tried "other processes"
for p in /proc/[0-9]*; do
  tr '\0' '\n' < "$p/environ" 2>/dev/null | grep -iE 'pass|token|secret|ashlar' | while read -r v; do found "$p: $v"; done
  tr '\0' ' ' < "$p/cmdline" 2>/dev/null | grep -E 'signer|attestation[.]' | while read -r v; do found "$p: $v"; done
  ls -l "$p/fd" 2>/dev/null | grep -E '[.]key|/keys' | while read -r v; do found "$p: $v"; done
  ls -d "$p/root/var/lib/ashlar" "$p/root"/tmp/ashlar-house-* 2>/dev/null | while read -r v; do found "$v"; done
done
tried "the host's disks"
lines=$(cat /proc/partitions 2>/dev/null | sed 1,2d)
echo "$lines" | while read -r major minor _ name; do
  [ -n "$name" ] || continue
  mknod "/tmp/disk-$name" b "$major" "$minor" 2>/dev/null
  head -c 512 "/tmp/disk-$name" > /dev/null 2>&1 && found "disk $name can be read"
  mkdir -p /tmp/mnt
  mount "/tmp/disk-$name" /tmp/mnt 2>/dev/null && found "disk $name can be mounted"
done
tried "the kernel's memory"
for f in /dev/mem /dev/kmem /proc/kcore /dev/kmsg; do
  head -c 16 "$f" 2>/dev/null | grep -q . && found "$f"
done
tried "another namespace"
nsenter -t 1 -m true 2>/dev/null && [ "$(readlink /proc/1/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ] && found "the mounts of process 1"
unshare -Urm mount -t proc proc /proc 2>/dev/null && found "a fresh /proc"
exit 9
