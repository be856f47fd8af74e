package deb

import (
	"errors"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// InFile returns err with the name of the file or address that was parsed, if it
// is a fault that names none. The parsers of this package know lines but not
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
