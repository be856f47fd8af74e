// Package world turns a wish into a root of Alpine: it chooses packages from
// signed indexes as apk does (Solve), and lays them into an empty root as apk
// would, with the database that apk keeps (Install). It runs no program: scripts
// of packages are handed to the caller.
//
// The rules are those of apk 3.0. Where 2.14 differs, and what differs from
// either, is in docs/conformance-apk.md.
//
// Solving is in solve.go (what goes in and comes out), universe.go (names and who
// provides them), settle.go, choose.go and listing.go (the solver's three steps)
// and explain.go (why there is no solution). It keeps to apk's way of going
// about it, not just to its rules: where several solutions are equally good, that
// alone decides which one comes out.
//
// Installing is in install.go, fetch.go (packages are read and checked ahead, on
// all processors), place.go (what becomes of each file), database.go, script.go
// and trigger.go; dir.go and tarball.go are the two places to install to.
package world
