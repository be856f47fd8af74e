# What a build of this world sources before it does anything, in the folder that it builds in.
# DESTDIR is ${target.dir} of the definition. Builds are cross builds, so that nothing that they
# make is run before the tests, and nothing depends on the machine.

set -eu
umask 022
export LC_ALL=C TZ=UTC
: "${DESTDIR:?}"
export DESTDIR

sysroot=${BASH_SOURCE[0]%/usr/share/musl/build.sh}
cpu=$(uname -m)
host=$cpu-linux-musl
build=$cpu-linux-gnu

export CC=$sysroot/usr/bin/musl-gcc BUILD_CC=gcc CC_FOR_BUILD=gcc
export AR=gcc-ar NM=gcc-nm RANLIB=gcc-ranlib STRIP=strip
export CFLAGS="-O2 -pipe -ffile-prefix-map=$PWD=."
export CPPFLAGS='' LDFLAGS=''
export PKG_CONFIG_LIBDIR=$sysroot/usr/lib/pkgconfig:$sysroot/usr/share/pkgconfig
export PKG_CONFIG_SYSROOT_DIR=$sysroot
export MAKEFLAGS=-j$(nproc)

# configure OPTION...: the configure script of GNU, for what all packages agree on.
configure() {
  ./configure --build="$build" --host="$host" --prefix=/usr --sysconfdir=/etc --localstatedir=/var \
    --mandir=/usr/share/man --infodir=/usr/share/info --disable-static "$@"
}

# split PACKAGE PATTERN...: moves what matches in the tree into a folder beside it that is named for
# a subpackage.
split() {
  local package=$1 path
  shift
  (
    cd "$DESTDIR"
    for path in $*; do
      mkdir -p "$package/${path%/*}"
      mv "$path" "$package/$path"
    done
  )
}

# split_dev PACKAGE: splits off what only a compiler needs.
split_dev() {
  local path
  for path in usr/include usr/lib/pkgconfig usr/share/pkgconfig usr/share/aclocal; do
    if test -e "$DESTDIR/$path"; then split "$1" "$path"; fi
  done
  for path in "$DESTDIR"/usr/lib/*.so; do
    if test -L "$path"; then split "$1" "usr/lib/${path##*/}"; fi
  done
}

# finish PACKAGE: the last call of a build. Documentation and licence go to PACKAGE-doc, libtool's
# files away, binaries are stripped and checked.
finish() {
  local path
  for path in man info doc gtk-doc; do
    if test -e "$DESTDIR/usr/share/$path"; then split "$1-doc" "usr/share/$path"; fi
  done
  rm -f "$DESTDIR/$1-doc/usr/share/info/dir"
  install -D -m 644 debian/copyright "$DESTDIR/$1-doc/usr/share/licenses/$1/copyright"
  find "$DESTDIR" -name '*.la' -delete
  find "$DESTDIR" -depth -mindepth 1 -maxdepth 3 -type d -path "$DESTDIR/usr*" -empty -delete
  find "$DESTDIR" -type f | while read -r path; do
    case $(head -c 4 "$path" | od -An -tx1) in
      ' 7f 45 4c 46') harden "$path" ;;
      ' 21 3c 61 72') strip --strip-debug --enable-deterministic-archives "$path" ;;
    esac
  done
}

# harden FILE: strips an ELF file, and fails if it is not as all of this world must be.
harden() {
  local facts
  case $1 in
    *.o) strip --strip-debug "$1"; return ;;
    *.so*) strip --strip-unneeded "$1" ;;
    *) strip "$1" ;;
  esac
  facts=$(readelf -hldW "$1")
  check() { grep -q "$1" <<< "$facts" || { echo "$file: $2" >&2; exit 1; }; }
  check_not() { ! grep "$1" <<< "$facts" || { echo "$file: $2" >&2; exit 1; }; }
  local file=$1
  check 'Type: *DYN' 'not position independent'
  check 'GNU_RELRO' 'no RELRO'
  check 'GNU_STACK.* RW ' 'no GNU_STACK, or an executable one'
  check_not '^ *LOAD.* RWE ' 'a segment that can be written and executed'
  check_not '(TEXTREL)' 'relocations in the text'
  check_not '(R\(UN\)\?PATH)' 'a path for libraries'
  check_not 'NEEDED.*\[\(libc\.so\|libgcc\|libm\.so\|libpthread\|ld-linux\|libstdc\)' "a library of the build root"
  grep -q '(NEEDED)' <<< "$facts" || return 0
  check '\(BIND_NOW\|FLAGS_1.*NOW\)' 'lazy binding'
  grep -q 'INTERP' <<< "$facts" || return 0
  check "interpreter: /lib/ld-musl-$cpu.so.1]" 'another loader'
}

# native: from here on programs of this world run in the build root, for tests. A library that
# the build root preloads, such as one that shifts the clock, is not theirs.
native() {
  unset LD_PRELOAD
  ln -sf "$sysroot/lib/ld-musl-$cpu.so.1" "/lib/ld-musl-$cpu.so.1"
  printf '%s\n' "$sysroot/lib" "$sysroot/usr/lib" > "/etc/ld-musl-$cpu.path"
}
