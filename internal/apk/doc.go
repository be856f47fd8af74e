// Package apk reads and writes the formats of Alpine: version numbers,
// dependency words, .PKGINFO, packages and the index APKINDEX.tar.gz. It runs no
// program, keeps no state and never looks at the clock; all its input is taken
// to be hostile, so sizes, counts and names are bounded.
//
// What is common to both generations of the format is in info.go: the facts of
// a package (Info), its scripts and its files (Entry). The second generation, a
// file of three gzip members, is in the files named v2*.go; the third, an ADB
// file (see internal/adb), and its index Packages.adb in those named v3*.go.
package apk
