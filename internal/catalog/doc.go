// Package catalog reads definitions in the open definition format: YAML files
// under one root, each saying what to build, from what, and how. Load checks the
// form (every key, with its place), Expand decides everything that a target
// decides, Bind fills in what only resolving a source can tell. Definitions are
// hostile input: size, depth, count and expansion are bounded, and no path
// leaves the root.
//
// # Substitution
//
// ${NAME} is replaced where NAME is one of the definition's vars or a known
// symbol. In a var, ${NAME:regexp} is the first group of the expression's match
// in the value of NAME. An expression #{ … } is evaluated everywhere but in
// runs and content, which belong to other languages. ${NAME} that names nothing
// stays in shell text, environments and parameters; in an address, a path or a
// package it is an error when the definition is bound.
package catalog
