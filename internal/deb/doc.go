// Package deb reads and writes the formats of Debian: version numbers, control
// paragraphs, package relations, source descriptions (.dsc), Release files,
// changelogs and binary packages (.deb). It runs no program and keeps no state;
// all its input is taken to be hostile, so sizes, counts and names are bounded.
package deb
