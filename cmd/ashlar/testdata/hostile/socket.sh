# Looks for the engine's socket and any way out. Arguments: a folder to search, an
# abstract socket, the host's name, and host:port of listeners that are there.
tried() { echo "TRIED $*"; }
found() { echo "FOUND $*"; }
where=$1 abstract=$2 host=$3
shift 3

tried "sockets below $where"
find "$where" \( -path /proc -o -path /sys \) -prune -o \( -type s -o -name '*.sock' \) -print 2>/dev/null | while read -r f; do found "socket $f"; done
tried "abstract sockets"
grep -a '@' /proc/net/unix | while read -r v; do found "abstract socket $v"; done
perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => "\0$ARGV[0]")' "$abstract" && found "connected to @$abstract"
tried "well-known sockets"
for s in /run/buildkit/buildkitd.sock /run/docker.sock /var/run/docker.sock /run/containerd/containerd.sock /dev/otel-grpc.sock /run/dbus/system_bus_socket /dev/log; do
  [ -e "$s" ] && found "$s"
done
tried "variables that lead to a socket"
env | grep -E 'BUILDKIT|OTEL|DOCKER|TRACE|SSH_AUTH|_SOCK' | while read -r v; do found "$v"; done
for address in "$@"; do
  tried "tcp $address"
  perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 2)' "$address" && found "connected to $address"
done
tried "the host by vsock"
perl -e 'socket(my $s, 40, 1, 0) or exit 1; $SIG{ALRM} = sub { exit 1 }; alarm 2; exit !connect($s, pack("SSLLx8", 40, 0, 22, 2))' 2>/dev/null && found "vsock"
tried "devices"
ls /dev | grep -vxE 'null|zero|full|random|urandom|tty|ptmx|pts|shm|mqueue|console|fd|stdin|stdout|stderr|core' | while read -r v; do found "device $v"; done
tried "names of the host"
[ "$(uname -n)" = "$host" ] && found "its name"
grep -swF -e "$host" /etc/hostname /etc/hosts /etc/resolv.conf /etc/mailname | while read -r v; do found "its name in $v"; done
tried "interfaces and resolver"
sed 1,2d /proc/net/dev | grep -v ' *lo:' | while read -r v; do found "interface $v"; done
getent hosts example.org > /dev/null && found "names are resolved"
exit 9
