package adb

import "github.com/ashlar-project/ashlar/internal/fault"

// malformed says why something is no ADB file.
func malformed(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "not a well-formed ADB file: "+format, args...)
}

// cutShort is the error of a file that ends too early.
func cutShort() *fault.Error {
	return malformed("it is cut short").Fix("fetch the file again")
}
