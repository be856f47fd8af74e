package apk

import (
	"errors"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// InFile returns err with the name of the file or address that was read, if it
// is a fault that names none. The readers of this package are given bytes, not
// names.
func InFile(err error, file string) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.File != "" {
		return err
	}
	named := *e
	named.File = file
	return &named
}

// invalid is the error of malformed input.
func invalid(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...)
}

// clip shortens hostile text for an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
