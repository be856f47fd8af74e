# Looks for what another build left or has open, and tries to write into what
# others will read. The mark comes in two halves, so that this command does not
# find itself. A third argument is the folder to search.
tried() { echo "TRIED $*"; }
found() { echo "FOUND $*"; }
mark=$1$2
where=${3:-/}

tried "names and contents below $where"
find "$where" \( -path /proc -o -path /sys \) -prune -o -name "*$mark*" -print 2>/dev/null | while read -r f; do found "$f"; done
find "$where" \( -path /proc -o -path /sys \) -prune -o -type f -size -1000k -print0 2>/dev/null | xargs -0 grep -lF -e "$mark" 2>/dev/null | while read -r f; do found "the mark in $f"; done
[ "$where" = / ] || exit 9
tried "processes of another build"
for p in /proc/[0-9]*; do
  cat "$p/environ" "$p/cmdline" 2>/dev/null | grep -qaF -e "$mark" && found "the mark in $p"
done
ls /dev/shm /dev/mqueue 2>/dev/null | grep -F -e "$mark" && found "shared memory"
[ -z "$(ipcs -m 2>/dev/null | grep -F 0x)" ] || found "a shared memory segment"
tried "folders of the engine"
for d in /var/lib/ashlar /var/lib/buildkit /var/lib/containerd /var/lib/docker /run/runc /.ashlar/debs /.ashlar/in; do
  [ -e "$d" ] && [ -n "$(ls -A "$d")" ] && found "$d"
done
tried "mounts that are writable and not ours"
while read -r _ _ _ root point options _; do
  case $point in /.ashlar/*) case $options in rw*) found "$point of $root is writable" ;; esac ;; esac
done < /proc/self/mountinfo
tried "going up from the root"
perl -e 'mkdir "/tmp/jail"; chroot "/tmp/jail" or exit 0; chdir ".." for 1..64; chroot "."; exit(-e "./proc/1" ? 0 : 1)' || echo "the root is lost"
perl -e 'mkdir "/tmp/jail2"; opendir(my $d, "/") or exit 0; chroot "/tmp/jail2" or exit 0; chdir $d; chdir ".." for 1..64; chroot "."; print "FOUND outside of the root\n" if -e "/home" && -e "/var/lib/ashlar"'
exit 9
