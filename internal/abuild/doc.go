// Package abuild reads the build recipes of Alpine, APKBUILD files, without
// running them. A recipe is a shell script that abuild(1) reads into its own
// shell; what is wanted of it here is known before anything is built: which files
// it fetches, from where, and what their checksums are. So the part of the shell
// language with which recipes say that is interpreted (assignments, parameter
// expansion with patterns, loops and case over what is known), no program runs,
// and a value that depends on anything else is an error that names the line.
//
// A recipe is taken to be hostile: its size, the length of its values, the depth
// of its nesting and the work done on it are bounded.
package abuild
